//! Findings: what went wrong, on what, why, and the remedy, under a code that does not change.

use std::fmt;

use serde::Serialize;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal,)*) => {
        /// The stable number of a finding; scripts may rely on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// Every code, in ascending order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];
        }
    };
}

codes! {
    /// The command line of the hook, or of nvidia-container-cli, is wrong.
    Usage = 100,
    /// The container state on stdin is missing, too large or not what the specification says.
    State = 101,
    /// The bundle's config.json cannot be read or used.
    Bundle = 102,
    /// Our own configuration file cannot be read or used.
    Config = 103,
    /// The hook ran into its deadline.
    Deadline = 104,
    /// The caller lacks a privilege.
    Privilege = 105,
    /// A resource limit of the hook's process is too low.
    Limit = 106,
    /// A request variable holds something that its grammar does not allow.
    RequestSyntax = 201,
    /// A driver capability that does not exist, or that the administrator does not allow.
    RequestCapability = 202,
    /// The container may not ask in the way it did.
    RequestDenied = 203,
    /// A requirement (`NVIDIA_REQUIRE_*`) is not met or cannot be read.
    Requirement = 204,
    /// The request was ignored by policy.
    RequestIgnored = 205,
    /// No NVIDIA driver is loaded in the kernel.
    NoDriver = 301,
    /// User-space files of the kernel's driver version were not found.
    NoUserland = 302,
    /// A file of the driver or of the kernel's interface is malformed.
    Malformed = 303,
    /// A host file cannot be read.
    HostRead = 304,
    /// A device node is missing on the host.
    NodeMissing = 305,
    /// A device node of the host has the wrong type, major or minor number.
    NodeWrong = 306,
    /// Two sources disagree about the driver version.
    VersionDisagree = 307,
    /// NVML did not tell all that it was asked for.
    Nvml = 308,
    /// The stored inventory is not to be believed.
    StoredInventory = 309,
    /// A kernel module of the driver cannot be loaded.
    KernelModule = 310,
    /// WSL2 has no driver of NVIDIA's to give.
    Wsl = 311,
    /// The lists of a Tegra host cannot be used.
    Tegra = 312,
    /// A requested device does not exist.
    UnknownDevice = 401,
    /// A device name fits more than one device.
    AmbiguousDevice = 402,
    /// A MIG request cannot be met.
    Mig = 403,
    /// An IMEX channel does not exist.
    ImexChannel = 404,
    /// Hardware beside the GPUs (GPUDirect Storage, GDRCopy, InfiniBand, NVSwitch) is not there.
    Peripheral = 405,
    /// The driver has no file that a requested capability needs.
    MissingFile = 501,
    /// The container's process or namespace cannot be entered.
    Enter = 601,
    /// A place in the container is not what it must be.
    Target = 602,
    /// A mount failed.
    Mount = 603,
    /// A host file changed between discovery and use.
    SourceChanged = 604,
    /// The container's ld.so.cache cannot be written.
    LdCache = 605,
    /// The device cgroup cannot be changed.
    Cgroup = 606,
    /// The kernel lacks a system call that is needed.
    Kernel = 607,
    /// A simulated host cannot be made.
    Sim = 701,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OG{:04}", *self as u16)
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// One finding. Its text is one line: what failed, on what and why, then the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// What failed, on what, and why.
    pub message: String,
    /// What to do about it; empty where nothing can be done.
    pub remedy: String,
}

impl Finding {
    /// A finding of those parts.
    pub fn new(code: Code, message: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            code,
            message: message.into(),
            remedy: remedy.into(),
        }
    }
}

/// Longest text that [`one_line`] lets through, in bytes.
const LINE_LIMIT: usize = 2000;

/// `text` as one safe line: control characters escaped, length bounded. Containers choose parts
/// of our messages, and terminals and logs must not obey them.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if line.len() > LINE_LIMIT {
            line.push_str("...");
            break;
        }
        if c.is_control() {
            line.extend(c.escape_default())
        } else {
            line.push(c)
        }
    }
    line
}

/// Longest word of a container that a message repeats, in characters.
const QUOTE_LIMIT: usize = 64;

/// `word` in quotes for a message, cut where it is long; [`Finding`]'s display escapes it.
pub(crate) fn quote(word: &str) -> String {
    let cut: String = word.chars().take(QUOTE_LIMIT).collect();
    match cut.len() < word.len() {
        true => format!("\"{cut}...\""),
        false => format!("\"{cut}\""),
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, one_line(&self.message))?;
        if !self.remedy.is_empty() {
            write!(f, "; {}", one_line(&self.remedy))?;
        }
        Ok(())
    }
}

impl std::error::Error for Finding {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_ascend() {
        assert!(Code::ALL.windows(2).all(|w| (w[0] as u16) < (w[1] as u16)));
        assert_eq!(Code::NoDriver.to_string(), "OG0301");
    }

    #[test]
    fn long_words_are_cut_in_messages() {
        assert_eq!(quote("GPU-1"), "\"GPU-1\"");
        assert_eq!(quote(&"ä".repeat(100)).chars().count(), QUOTE_LIMIT + 5);
    }

    #[test]
    fn a_finding_is_one_bounded_line() {
        let f = Finding::new(Code::State, "bad\n\u{1b}[2J".repeat(2000), "fix it");
        let text = f.to_string();
        assert!(!text.chars().any(char::is_control));
        assert!(text.len() < 2 * LINE_LIMIT + 100);
        assert!(text.ends_with("; fix it"));
    }
}
