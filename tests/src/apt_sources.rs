//! The machine's apt sources, as far as needed to reach other suites of the same archive.

/// One stanza of a `.sources` file or one line of a `.list` file (sources.list(5)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// `deb`, `deb-src`.
    pub types: Vec<String>,
    /// Base of the archive.
    pub uris: Vec<String>,
    /// Releases: `bookworm`, `bookworm-updates`.
    pub suites: Vec<String>,
    /// `main`, `non-free`, ...
    pub components: Vec<String>,
    /// Path of a keyring, or a key in armour, as it was written (continuation lines included).
    pub signed_by: Option<String>,
}

impl Source {
    /// Whether this is where the packages of `suite` come from.
    pub fn serves(&self, suite: &str) -> bool {
        let has = |list: &[String], wanted: &str| list.iter().any(|item| item == wanted);
        has(&self.types, "deb") && has(&self.suites, suite) && has(&self.components, "main")
    }

    /// The stanza that reaches another suite of the same archive with the same keys. `Targets`
    /// leaves out what is not an index of packages: the AppStream data is as large again.
    pub fn stanza(&self, suite: &str, component: &str) -> String {
        let uris = self.uris.join(" ");
        let mut text = format!(
            "Types: deb\nURIs: {uris}\nSuites: {suite}\nComponents: {component}\n\
             Targets: Packages\n"
        );
        if let Some(key) = &self.signed_by {
            text += &format!("Signed-By: {key}\n");
        }
        text
    }
}

/// The enabled stanzas of a `.sources` file (deb822 form).
pub fn parse_deb822(text: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut stanza: Vec<(String, String)> = Vec::new();
    for line in text.lines().chain([""]) {
        if line.starts_with('#') {
            continue;
        }
        if line.trim().is_empty() {
            sources.extend(source_of(&stanza));
            stanza.clear();
        } else if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = stanza.last_mut() {
                value.push('\n');
                value.push_str(line);
            }
        } else if let Some((key, value)) = line.split_once(':') {
            stanza.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    sources
}

fn source_of(stanza: &[(String, String)]) -> Option<Source> {
    let field = |name: &str| {
        stanza
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, v)| v.as_str())
    };
    if field("enabled").is_some_and(|value| matches!(value, "no" | "false" | "0" | "off")) {
        return None;
    }
    let words = |name: &str| {
        field(name)
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
    };
    Some(Source {
        types: words("types").collect(),
        uris: words("uris").collect(),
        suites: words("suites").collect(),
        components: words("components").collect(),
        signed_by: field("signed-by").map(str::to_owned),
    })
    .filter(|source| !source.uris.is_empty())
}

/// The lines of a `.list` file: `deb [options] URI suite component...`.
pub fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(source_of_line).collect()
}

fn source_of_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim();
    let (kind, rest) = line.split_once(char::is_whitespace)?;
    let (options, rest) = match rest.trim_start().strip_prefix('[') {
        Some(inside) => inside.split_once(']')?,
        None => ("", rest),
    };
    let mut words = rest.split_whitespace().map(str::to_owned);
    let option = |word: &str| word.strip_prefix("signed-by=").map(str::to_owned);
    Some(Source {
        types: vec![kind.to_owned()],
        uris: vec![words.next()?],
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: options.split_whitespace().find_map(option),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_with_comments_and_embedded_keys() {
        let text = "# ours\nTypes: deb deb-src\nURIs: http://mirror.example/debian\n\
                    # older: bullseye\nSuites: bookworm bookworm-updates\nComponents: main\n\
                    Signed-By:\n -----BEGIN PGP\n .\n abc\n\n\
                    Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: x\n";
        let sources = parse_deb822(text);
        assert_eq!(sources.len(), 1);
        assert!(sources[0].serves("bookworm"));
        assert!(!sources[0].serves("bullseye"));
        let key = "\n -----BEGIN PGP\n .\n abc";
        assert_eq!(sources[0].signed_by.as_deref(), Some(key));
        assert_eq!(
            sources[0].stanza("trixie", "non-free"),
            "Types: deb\nURIs: http://mirror.example/debian\nSuites: trixie\n\
             Components: non-free\nTargets: Packages\n\
             Signed-By: \n -----BEGIN PGP\n .\n abc\n"
        );
        assert_eq!(
            parse_deb822(&sources[0].stanza("sid", "main"))[0]
                .signed_by
                .as_deref(),
            Some(key)
        );
    }

    #[test]
    fn lines_with_and_without_options() {
        let sources = parse_list(
            "deb [arch=amd64 signed-by=/k.gpg] http://a.example/debian bookworm main contrib # x\n\
             #deb http://b.example sid main\n\
             deb-src http://c.example/debian bookworm main\n\
             deb http://d.example/debian\n",
        );
        assert_eq!(sources.len(), 2);
        assert!(sources[0].serves("bookworm"));
        assert_eq!(sources[0].signed_by.as_deref(), Some("/k.gpg"));
        assert!(!sources[1].serves("bookworm"));
        assert_eq!(sources[1].signed_by, None);
    }
}
