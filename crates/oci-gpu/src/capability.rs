//! Driver capabilities: which part of a driver a container asks for (`NVIDIA_DRIVER_CAPABILITIES`).

use std::fmt;

use crate::finding::quote;

/// One driver capability, by the word that users write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// CUDA and OpenCL applications.
    Compute,
    /// 32-bit libraries beside the 64-bit ones.
    Compat32,
    /// X11 and Wayland displays: the modeset node. What draws on them is [`Capability::Graphics`].
    Display,
    /// OpenGL, EGL and Vulkan applications.
    Graphics,
    /// DLSS and other NGX features.
    Ngx,
    /// nvidia-smi and NVML.
    Utility,
    /// Video encoding, decoding and optical flow.
    Video,
}

impl Capability {
    /// Every capability, in alphabetical order.
    pub const ALL: [Capability; 7] = [
        Capability::Compat32,
        Capability::Compute,
        Capability::Display,
        Capability::Graphics,
        Capability::Ngx,
        Capability::Utility,
        Capability::Video,
    ];

    /// The word in `NVIDIA_DRIVER_CAPABILITIES`.
    pub fn as_str(self) -> &'static str {
        match self {
            Capability::Compute => "compute",
            Capability::Compat32 => "compat32",
            Capability::Display => "display",
            Capability::Graphics => "graphics",
            Capability::Ngx => "ngx",
            Capability::Utility => "utility",
            Capability::Video => "video",
        }
    }

    /// The capability of that word; the words are case-sensitive, as they are for the reference.
    pub fn from_word(word: &str) -> Option<Capability> {
        Capability::ALL.into_iter().find(|c| c.as_str() == word)
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl serde::Serialize for Capability {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The words of a capability list, sorted by what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapabilityWords<'a> {
    /// Whether `all` is among them.
    pub all: bool,
    /// The capabilities named one by one.
    pub named: CapabilitySet,
    /// The first word that is no capability.
    pub unknown: Option<&'a str>,
}

impl<'a> CapabilityWords<'a> {
    /// Sorts the words of a comma list; white space around words and empty words count for nothing.
    pub fn read(list: &'a str) -> CapabilityWords<'a> {
        let mut words = CapabilityWords::default();
        for word in list.split(',').map(str::trim).filter(|w| !w.is_empty()) {
            match Capability::from_word(word) {
                Some(capability) => words.named.insert(capability),
                None if word == "all" => words.all = true,
                None => words.unknown = words.unknown.or(Some(word)),
            }
        }
        words
    }
}

/// The words that a capability list may hold, for messages.
pub const VALID_WORDS: &str =
    "compat32, compute, display, graphics, ngx, utility, video, or all for every one";

/// What is wrong with a word that is no capability: "Compute" differs from one by its case only.
pub(crate) fn unknown_word(word: &str) -> String {
    let lower = word.to_ascii_lowercase();
    match lower == "all" || Capability::from_word(&lower).is_some() {
        true => format!("{} is no driver capability, but {lower} is", quote(word)),
        false => format!("{} is no driver capability", quote(word)),
    }
}

/// A set of driver capabilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilitySet(u8);

impl CapabilitySet {
    /// No capability at all.
    pub const EMPTY: CapabilitySet = CapabilitySet(0);

    /// Every capability.
    pub fn all() -> CapabilitySet {
        Capability::ALL.into_iter().collect()
    }

    /// What a container gets that names none: utility and compute.
    pub fn default_set() -> CapabilitySet {
        [Capability::Utility, Capability::Compute]
            .into_iter()
            .collect()
    }

    /// Whether the set holds `c`.
    pub fn contains(self, c: Capability) -> bool {
        self.0 & c.bit() != 0
    }

    /// Whether the two sets share a capability.
    pub fn intersects(self, other: CapabilitySet) -> bool {
        self.0 & other.0 != 0
    }

    /// The capabilities that are in both sets.
    pub fn intersection(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 & other.0)
    }

    /// Adds `c`.
    pub fn insert(&mut self, c: Capability) {
        self.0 |= c.bit();
    }

    /// The members that `other` lacks.
    pub fn without(self, other: CapabilitySet) -> CapabilitySet {
        CapabilitySet(self.0 & !other.0)
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The members in alphabetical order.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL
            .into_iter()
            .filter(move |c| self.contains(*c))
    }
}

impl serde::Serialize for CapabilitySet {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(self.iter())
    }
}

impl FromIterator<Capability> for CapabilitySet {
    fn from_iter<I: IntoIterator<Item = Capability>>(iter: I) -> CapabilitySet {
        let mut set = CapabilitySet::EMPTY;
        for c in iter {
            set.insert(c);
        }
        set
    }
}

impl fmt::Display for CapabilitySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.iter().map(Capability::as_str).collect();
        f.write_str(&words.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_sorted_by_what_they_are() {
        let words = CapabilityWords::read(" utility,,video , video");
        assert_eq!(words.named.to_string(), "utility,video");
        assert!(!words.all && words.unknown.is_none());
        let words = CapabilityWords::read("all,what,else");
        assert!(words.all);
        assert_eq!(words.unknown, Some("what"));
        assert_eq!(CapabilityWords::read(" , "), CapabilityWords::default());
    }

    #[test]
    fn every_capability_is_read_back_from_its_word_and_is_named_as_valid() {
        for c in Capability::ALL {
            assert_eq!(Capability::from_word(c.as_str()), Some(c));
            assert!(VALID_WORDS.contains(c.as_str()));
        }
        assert_eq!(
            CapabilitySet::all().to_string(),
            "compat32,compute,display,graphics,ngx,utility,video"
        );
    }

    #[test]
    fn a_word_in_the_wrong_case_is_told_apart() {
        assert!(unknown_word("Compute").ends_with("but compute is"));
        assert!(unknown_word("ALL").ends_with("but all is"));
        assert!(unknown_word("none").ends_with("is no driver capability"));
    }
}
