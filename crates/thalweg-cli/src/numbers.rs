//! Reads the numbers of all options. clap puts the option and the value before these messages.

use std::ops::RangeInclusive;

/// Reads whole numbers in a range.
pub fn whole<T: TryFrom<u64>>(range: RangeInclusive<u64>) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("not a whole number from {} to {}", range.start(), range.end()))
    }
}

/// Reads numbers. Their ranges are checked with the settings.
pub fn real(text: &str) -> Result<f64, String> {
    let point = || text.replace(',', ".");
    text.parse().map_err(|_| match point().parse::<f64>() {
        Ok(_) => format!("numbers are written with a point: {}", point()),
        Err(_) => "not a number, such as 0.1 or 1e-3".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_of_their_range() {
        let few = whole::<u32>(1..=50);
        assert_eq!([few("1"), few("50")], [Ok(1), Ok(50)]);
        for text in ["", "0", "51", "-1", "1.5", "1e1", "x", " 1", "99999999999999999999"] {
            assert_eq!(few(text), Err("not a whole number from 1 to 50".into()), "{text}");
        }
        assert!(whole::<u8>(0..=u64::MAX)("256").is_err());
    }

    #[test]
    fn numbers_have_a_point() {
        assert_eq!([real("0.1"), real("-1e-3"), real("inf")], [Ok(0.1), Ok(-1e-3), Ok(f64::INFINITY)]);
        assert_eq!(real("0,5"), Err("numbers are written with a point: 0.5".into()));
        for text in ["", "fast", "1,2,3", "0.1x"] {
            assert_eq!(real(text), Err("not a number, such as 0.1 or 1e-3".into()), "{text}");
        }
    }
}
