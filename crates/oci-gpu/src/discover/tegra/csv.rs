//! L4T's lists of what a container gets: lines `TYPE, PATH`.

/// Most lines of one list. L4T's longest has 300.
const LINE_LIMIT: usize = 10_000;

/// What a line names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Device nodes.
    Device,
    /// Files: mostly libraries.
    Library,
    /// Links, each with the chain that it leads along.
    Link,
    /// Directories.
    Directory,
}

/// A line of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Its number, from 1.
    pub(crate) number: usize,
    pub(crate) kind: Kind,
    /// An absolute path without `..`, in which `*`, `?` and `[...]` stand for others.
    pub(crate) pattern: String,
}

/// A list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) lines: Vec<Line>,
    /// Numbers of lines that are no line of a list.
    pub(crate) bad: Vec<usize>,
}

/// Reads a list. Empty lines and comments (`#`) count for nothing; what follows the limit counts as
/// one bad line.
pub(crate) fn parse(text: &str) -> List {
    let mut list = List::default();
    for (line, number) in text.lines().zip(1..) {
        if number > LINE_LIMIT {
            list.bad.push(number);
            break;
        }
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match entry(line) {
            Some((kind, pattern)) => list.lines.push(Line {
                number,
                kind,
                pattern: pattern.to_owned(),
            }),
            None => list.bad.push(number),
        }
    }
    list
}

fn entry(line: &str) -> Option<(Kind, &str)> {
    let (kind, path) = line.split_once(',')?;
    let kind = match kind.trim() {
        "dev" => Kind::Device,
        "lib" => Kind::Library,
        "sym" => Kind::Link,
        "dir" => Kind::Directory,
        _ => return None,
    };
    let path = path.trim();
    let plain = path.starts_with('/')
        && path.len() > 1
        && !path.contains('\0')
        && !path.split('/').any(|part| part == "..");
    plain.then_some((kind, path))
}

/// Whether `name` fits a pattern of one path component: `*` any characters, `?` one, `[abc]` and
/// `[a-c]` one of these, `[!...]` none of these (glob(7)).
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Where the last `*` was, and how much of the name it has taken: no other can give way.
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match one(&pattern, p, name[n]) {
            Some(next) => (p, n) = (next, n + 1),
            None if pattern.get(p) == Some(&'*') => {
                star = Some((p, n));
                p += 1;
            }
            None => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, n) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// Where the pattern goes on after its part at `at`, which takes `c`; `None` where it does not.
fn one(pattern: &[char], at: usize, c: char) -> Option<usize> {
    match pattern.get(at)? {
        '*' => None,
        '?' => Some(at + 1),
        '[' => {
            let inside = &pattern[at + 1..];
            let negated = inside.first() == Some(&'!');
            let start = usize::from(negated);
            // A bracket that comes first is one of the characters.
            let end = inside.iter().skip(start + 1).position(|c| *c == ']')? + start + 1;
            let set = &inside[start..end];
            let mut has = false;
            let mut i = 0;
            while i < set.len() {
                match (set.get(i + 1), set.get(i + 2)) {
                    (Some('-'), Some(last)) => {
                        has |= (set[i]..=*last).contains(&c);
                        i += 3;
                    }
                    _ => {
                        has |= set[i] == c;
                        i += 1;
                    }
                }
            }
            (has != negated).then_some(at + 1 + end + 1)
        }
        other => (*other == c).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_what_is_none() {
        let list = parse(
            "dev, /dev/nvmap\n\n# a comment\n  lib ,  /usr/lib/x*.so \nsym,/a\ndir, /b\n\
             lib\nfile, /c\nlib, relative\nlib, /a/../b\nlib, /\n,\n",
        );
        let kinds: Vec<(usize, Kind, &str)> = list
            .lines
            .iter()
            .map(|l| (l.number, l.kind, l.pattern.as_str()))
            .collect();
        assert_eq!(
            kinds,
            [
                (1, Kind::Device, "/dev/nvmap"),
                (4, Kind::Library, "/usr/lib/x*.so"),
                (5, Kind::Link, "/a"),
                (6, Kind::Directory, "/b"),
            ]
        );
        assert_eq!(list.bad, [7, 8, 9, 10, 11, 12]);
        let long = "lib, /a\n".repeat(LINE_LIMIT + 5);
        let list = parse(&long);
        assert_eq!((list.lines.len(), list.bad.len()), (LINE_LIMIT, 1));
    }

    #[test]
    fn patterns() {
        let rows = [
            ("nvmap", "nvmap", true),
            ("nvmap", "nvmapx", false),
            ("nvhost-*", "nvhost-ctrl", true),
            ("nvhost-*", "nvhost-", true),
            ("nvhost-*", "nvhos", false),
            ("*.so*", "a.so.1", true),
            ("*a*b*c", "xaybzbc", true),
            ("*a*b*c", "xaybzb", false),
            ("nvidia?", "nvidia0", true),
            ("nvidia?", "nvidia", false),
            ("nvidia[0-3]", "nvidia2", true),
            ("nvidia[0-3]", "nvidia4", false),
            ("nvidia[!0-3]", "nvidia4", true),
            ("nvidia[]]", "nvidia]", true),
            ("nvidia[abc]x", "nvidiabx", true),
            ("nvidia[", "nvidia[", false),
            ("", "", true),
            ("*", "", true),
            ("é?", "éä", true),
        ];
        for (pattern, name, expected) in rows {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
        // Linear, not exponential.
        let pattern = "*a".repeat(50) + "b";
        assert!(!fits(&pattern, &"a".repeat(5000)));
    }
}
