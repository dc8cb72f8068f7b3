//! Which CUDA version a driver supports, told from the driver's version alone.
//!
//! The driver answers this itself, through libcuda or NVML; a hook loads neither. The table says
//! which branch each CUDA version came with: "CUDA Toolkit and Corresponding Driver Versions" in
//! NVIDIA's CUDA Toolkit release notes, and for 565, which came with no toolkit, what nvidia-smi
//! shows.

/// The branch that first had a CUDA version, and the version. Ascending.
const BRANCHES: &[(u32, (u32, u32))] = &[
    (384, (9, 0)),
    (390, (9, 1)),
    (396, (9, 2)),
    (410, (10, 0)),
    (418, (10, 1)),
    (440, (10, 2)),
    (450, (11, 0)),
    (455, (11, 1)),
    (460, (11, 2)),
    (465, (11, 3)),
    (470, (11, 4)),
    (495, (11, 5)),
    (510, (11, 6)),
    (515, (11, 7)),
    (520, (11, 8)),
    (525, (12, 0)),
    (530, (12, 1)),
    (535, (12, 2)),
    (545, (12, 3)),
    (550, (12, 4)),
    (555, (12, 5)),
    (560, (12, 6)),
    (565, (12, 7)),
    (570, (12, 8)),
    (575, (12, 9)),
    (580, (13, 0)),
    (590, (13, 1)),
    (595, (13, 2)),
    (610, (13, 3)),
];

/// The newest CUDA version, major and minor, that a driver of `version` ("550.163.01") supports.
///
/// A branch between two of the table has the lower one's. `None` where `version` is no driver
/// version, or its branch is older than the table or newer: a newer one supports at least the
/// table's last version, but how much more is not known.
pub fn cuda_of_driver(version: &str) -> Option<(u32, u32)> {
    let well_formed = version.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let branch: u32 = version.split('.').next()?.parse().ok()?;
    let (newest, _) = *BRANCHES.last()?;
    let mut older = BRANCHES.iter().rev().filter(|(first, _)| *first <= branch);
    let (_, cuda) = older.next()?;
    (well_formed && branch <= newest).then_some(*cuda)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_and_what_lies_between() {
        let rows = [
            ("384.81", Some((9, 0))),
            ("387.26", Some((9, 0))),
            ("418.39", Some((10, 1))),
            ("430.64", Some((10, 1))),
            ("450.80.02", Some((11, 0))),
            ("470.256.02", Some((11, 4))),
            ("495.46", Some((11, 5))),
            ("535.104.05", Some((12, 2))),
            ("550.163.01", Some((12, 4))),
            ("565.57.01", Some((12, 7))),
            ("580.65.06", Some((13, 0))),
            ("595.45.04", Some((13, 2))),
            ("610.43.02", Some((13, 3))),
            ("615.71.01", None),
            ("4294967295.1", None),
            ("375.26", None),
            ("550", Some((12, 4))),
        ];
        for (version, cuda) in rows {
            assert_eq!(cuda_of_driver(version), cuda, "{version}");
        }
    }

    #[test]
    fn other_texts_have_no_version() {
        for text in [
            "",
            ".",
            "x",
            "550x.1",
            "-550.1",
            "+550.1",
            "550.1-beta",
            "4294967296.1",
            " 550",
        ] {
            assert_eq!(cuda_of_driver(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_table_ascends() {
        let ascends = |w: &[(u32, (u32, u32))]| w[0].0 < w[1].0 && w[0].1 < w[1].1;
        assert!(BRANCHES.windows(2).all(ascends));
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,20}|[0-9.]{0,12}") {
            let _ = cuda_of_driver(&text);
        }
    }
}
