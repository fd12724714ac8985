//! Errors for what does not fit into memory, and bytes as people write them.

use anyhow::{Result, bail};

/// Refuses what needs more than `limit`, or more than any machine has. Both are bytes.
pub fn check(what: &str, needed: u128, limit: Option<u64>) -> Result<()> {
    let most = limit.unwrap_or(isize::MAX as u64);
    if needed > u128::from(most) {
        bail!("{what} takes {} of memory, and {} are available", human(needed), human(most.into()));
    }
    Ok(())
}

/// Bytes in a readable unit.
pub fn human(bytes: u128) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let (mut x, mut unit) = (bytes as f64, "bytes");
    for larger in units {
        if x < 1024.0 {
            break;
        }
        (x, unit) = (x / 1024.0, larger);
    }
    if unit == "bytes" { format!("{bytes} bytes") } else { format!("{x:.1} {unit}") }
}

/// Reads a number of bytes such as `500M` or `2G`.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is not a number of bytes, such as 500M or 2G");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_uppercase().trim_end_matches('B').trim_end_matches('I') {
        "" => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << (10 * unit)).filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        for (text, expected) in [("1", 1), ("500M", 500 << 20), ("2g", 2 << 30), ("3KiB", 3 << 10), ("1TB", 1 << 40)] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "M", "1.5G", "-1", "1X", "99999999999T", "1 G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
        assert_eq!([human(1023), human(1536), human(5 << 30)], ["1023 bytes", "1.5 KiB", "5.0 GiB"]);
    }

    #[test]
    fn both_numbers_are_named() {
        let error = check("this", 3 << 30, Some(1 << 30)).expect_err("too much").to_string();
        assert_eq!(error, "this takes 3.0 GiB of memory, and 1.0 GiB are available");
        assert!(check("this", 1 << 30, Some(1 << 30)).is_ok());
        assert!(check("this", u128::MAX, None).is_err());
    }
}
