//! The links that Debian's alternatives system makes for the NVIDIA driver, made from the same
//! lists: the maintainer scripts of nvidia-alternative and glx-alternative-nvidia. Those scripts
//! run update-alternatives(1) and dpkg-trigger(1) on the running system, so they are read instead.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};

/// The directories that a script tries for each library, besides plain `/usr/lib`.
const TRIPLETS: [&str; 3] = ["/", "/i386-linux-gnu/", "/x86_64-linux-gnu/"];

/// One alternative: `link` leads to `/etc/alternatives/NAME`, which leads to `source`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// Where programs look.
    pub link: PathBuf,
    /// The entry of /etc/alternatives.
    pub name: String,
    /// What provides it.
    pub source: PathBuf,
}

impl Alternative {
    /// An alternative with these three paths.
    pub fn new(link: &str, name: &str, source: &str) -> Alternative {
        Alternative {
            link: link.into(),
            name: name.to_owned(),
            source: source.into(),
        }
    }

    /// Makes the two links in `root`.
    ///
    /// # Errors
    /// Where one is there already, or its directory is not.
    pub fn install(&self, root: &Path) -> Result<()> {
        let entry = Path::new("/etc/alternatives").join(&self.name);
        for (link, target) in [(&entry, &self.source), (&self.link, &entry)] {
            let link = inside(root, link);
            symlink(target, &link).during(format_args!("link {}", link.display()))?;
        }
        Ok(())
    }

    /// As the scripts ask: the source is there, and so is the directory for the link.
    fn applies(&self, root: &Path) -> bool {
        let directory = self.link.parent().map(|parent| inside(root, parent));
        // Not followed: links of alternatives are absolute, and lead out of `root` from here.
        fs::symlink_metadata(inside(root, &self.source)).is_ok()
            && directory.is_some_and(|directory| directory.is_dir())
    }
}

/// Makes in `root` the alternatives that the variables `lists` of the maintainer script `script`
/// name and whose sources are there.
///
/// # Errors
/// Where the script has no such list, or a link cannot be made.
pub fn install_from_script(script: &str, lists: &[&str], root: &Path) -> Result<()> {
    let alternatives = root.join("etc/alternatives");
    fs::create_dir_all(&alternatives).during(format_args!("create {}", alternatives.display()))?;
    for list in lists {
        let entries = list_of_script(script, list)
            .ok_or_else(|| Error::new(format!("the maintainer script has no list {list}")))?;
        for entry in entries.iter().filter(|entry| entry.applies(root)) {
            entry.install(root)?;
        }
    }
    Ok(())
}

/// The alternatives in the assignment `NAME="..."` of a script: lines
/// `$(add_slave LINK NAME SOURCE)` and
/// `$(add_multiarch_slave DIR SUBDIR FILE SOURCE_DIR SOURCE_SUBDIR)`.
fn list_of_script(script: &str, name: &str) -> Option<Vec<Alternative>> {
    let value = |line: &str| {
        line.trim()
            .strip_prefix("prefix=\"")?
            .strip_suffix('"')
            .map(str::to_owned)
    };
    let prefix = script.lines().find_map(value)?;
    let start = format!("{name}=\"");
    let lines = script
        .lines()
        .skip_while(|line| line.trim() != start)
        .skip(1);
    let mut list = Vec::new();
    for line in lines.take_while(|line| line.trim() != "\"") {
        let call = line.trim().strip_prefix("$(")?.strip_suffix(')')?;
        let words: Vec<_> = call
            .split_whitespace()
            .map(|word| word.trim_matches('"'))
            .collect();
        match words[..] {
            ["add_slave", link, name, source] => {
                list.push(Alternative::new(link, &format!("{prefix}{name}"), source));
            }
            [
                "add_multiarch_slave",
                dir,
                below,
                file,
                source_dir,
                source_below,
            ] => {
                list.extend(TRIPLETS.map(|triplet| {
                    let suffix = match triplet.trim_matches('/') {
                        "" => String::new(),
                        triplet => format!("-{triplet}"),
                    };
                    Alternative::new(
                        &format!("{dir}{triplet}{below}{file}"),
                        &format!("{prefix}{file}{suffix}"),
                        &format!("{source_dir}{triplet}{source_below}{file}"),
                    )
                }));
            }
            _ => return None,
        }
    }
    Some(list).filter(|list| !list.is_empty())
}

fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = r#"
	prefix="nvidia--"
	slaves="
		$(add_multiarch_slave /usr/lib vdpau/ libvdpau_nvidia.so.1 /usr/lib nvidia/current/)
		$(add_multiarch_slave /usr/lib "" libcuda.so.1 /usr/lib nvidia/current/)
		$(add_slave /usr/bin/nvidia-smi nvidia-smi /usr/lib/nvidia/current/nvidia-smi)
"
	other="
		$(search_multiarch_slave libGL.so.1)
"
"#;

    #[test]
    fn lists_are_read() {
        let list = list_of_script(SCRIPT, "slaves").unwrap();
        assert_eq!(list.len(), 7);
        let wanted = Alternative::new(
            "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
            "nvidia--libcuda.so.1-x86_64-linux-gnu",
            "/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.1",
        );
        assert!(list.contains(&wanted), "{list:?}");
        let plain = Alternative::new(
            "/usr/lib/libcuda.so.1",
            "nvidia--libcuda.so.1",
            "/usr/lib/nvidia/current/libcuda.so.1",
        );
        assert!(list.contains(&plain), "{list:?}");
        assert_eq!(list[6].link, Path::new("/usr/bin/nvidia-smi"));
    }

    #[test]
    fn a_list_that_is_not_understood_is_not_taken_for_empty() {
        assert_eq!(list_of_script(SCRIPT, "other"), None);
        assert_eq!(list_of_script(SCRIPT, "absent"), None);
    }
}
