//! Windows's INF files, as far as the driver's version goes.

/// INF files are UTF-16 with a byte-order mark, or of one byte a character.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let word: fn([u8; 2]) -> u16 = match bytes {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return String::from_utf8_lossy(bytes).into_owned(),
    };
    let words = bytes.chunks_exact(2).skip(1);
    let words = words.map(|pair| word([pair[0], pair[1]]));
    char::decode_utf16(words)
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}

/// NVIDIA's version in Windows's: the last five digits of "31.0.15.5161" are driver 551.61.
pub(super) fn driver_version(inf: &str) -> Option<String> {
    let line = inf.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        key.trim()
            .eq_ignore_ascii_case("DriverVer")
            .then_some(value)
    })?;
    let windows = line.split(';').next()?.split(',').nth(1)?.trim();
    let parts: Vec<&str> = windows.split('.').collect();
    let [_, _, third, fourth] = parts[..] else {
        return None;
    };
    let digits = format!("{third}{fourth:0>4}");
    if !digits.bytes().all(|b| b.is_ascii_digit()) || digits.len() < 5 {
        return None;
    }
    let (_, last) = digits.split_at(digits.len() - 5);
    let (major, minor) = last.split_at(3);
    Some(format!("{major}.{minor}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_inf_files() {
        let rows = [
            ("DriverVer = 02/19/2024, 31.0.15.5161", Some("551.61")),
            ("DriverVer=02/19/2024,32.0.15.6094 ; x", Some("560.94")),
            (
                "[Version]\r\ndriverver   = 1/1/2024, 27.21.14.6589\r\n",
                Some("465.89"),
            ),
            ("DriverVer = 02/19/2024, 31.0.15.61", Some("500.61")),
            ("DriverVer = 02/19/2024", None),
            ("DriverVer = 02/19/2024, 31.0.15", None),
            ("DriverVer = 02/19/2024, 31.0.x.5161", None),
            ("DriverVer = 02/19/2024, 31.0..1", None),
            ("; DriverVer", None),
            ("", None),
        ];
        for (text, version) in rows {
            assert_eq!(driver_version(text).as_deref(), version, "{text}");
        }
    }

    #[test]
    fn texts_of_both_kinds() {
        let text = "[Version]\nDriverVer = é, 31.0.15.5161\n";
        let le: Vec<u8> = [0xfeff]
            .into_iter()
            .chain(text.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let be: Vec<u8> = [0xfeff]
            .into_iter()
            .chain(text.encode_utf16())
            .flat_map(u16::to_be_bytes)
            .collect();
        for bytes in [le, be, text.as_bytes().to_vec()] {
            assert_eq!(text_of(&bytes), text);
        }
        assert_eq!(text_of(&[0xff, 0xfe, 0x41]), "");
    }
}
