//! Settings of any kind, read from and written as text.

use std::fmt::Debug;

/// A setting whose value can be read from text: a number, a switch, a word of a few.
///
/// # Examples
///
/// ```
/// use thalweg::{AdjustLr, Text};
///
/// let mut factor = AdjustLr::Original;
/// assert_eq!(factor.read("match_rms_adamw"), Ok(()));
/// assert_eq!((factor, factor.write()), (AdjustLr::MatchRmsAdamW, "match_rms_adamw".into()));
/// assert_eq!(factor.read("2"), Err("original, match_rms_adamw or spectral_unclamped"));
/// ```
pub trait Text: Debug {
    /// Takes the value that the text names.
    ///
    /// # Errors
    /// Which values there are, where the text names none of them.
    fn read(&mut self, text: &str) -> Result<(), &'static str>;

    /// The value as text that [`Text::read`] accepts.
    fn write(&self) -> String;
}

/// Kinds that the standard library parses.
macro_rules! parsed {
    ($($kind:ty: $allowed:literal),*) => {
        $(impl Text for $kind {
            fn read(&mut self, text: &str) -> Result<(), &'static str> {
                *self = text.trim().parse().map_err(|_| $allowed)?;
                Ok(())
            }

            fn write(&self) -> String {
                self.to_string()
            }
        })*
    };
}

parsed! { u64: "a whole number", usize: "a whole number", bool: "true or false" }

impl Text for f64 {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        *self = text.trim().parse().map_err(|_| "a number")?;
        Ok(())
    }

    /// Small numbers by their power of ten.
    fn write(&self) -> String {
        if *self != 0.0 && self.abs() < 1e-3 { format!("{self:e}") } else { self.to_string() }
    }
}

impl<T: Text + Default> Text for Vec<T> {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        let read = |item| {
            let mut value = T::default();
            value.read(item).map(|()| value)
        };
        if text.trim().is_empty() {
            self.clear();
            return Ok(());
        }
        *self = text.split(',').map(read).collect::<Result<_, _>>().map_err(|_| "numbers separated by commas")?;
        Ok(())
    }

    fn write(&self) -> String {
        self.iter().map(Text::write).collect::<Vec<_>>().join(",")
    }
}

impl Text for Option<u64> {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        *self = match text.trim() {
            "none" => None,
            number => Some(number.parse().map_err(|_| "a whole number or none")?),
        };
        Ok(())
    }

    fn write(&self) -> String {
        self.map_or("none".into(), |value| value.to_string())
    }
}

/// An enum whose variants have names.
macro_rules! words {
    ($kind:ident, $allowed:literal, $($variant:ident: $word:literal),*) => {
        impl crate::text::Text for $kind {
            fn read(&mut self, text: &str) -> Result<(), &'static str> {
                *self = match text.trim() {
                    $($word => Self::$variant,)*
                    _ => return Err($allowed),
                };
                Ok(())
            }

            fn write(&self) -> String {
                match self { $(Self::$variant => $word,)* }.into()
            }
        }
    };
}

pub(crate) use words;

/// A number that may be infinite, which JSON cannot write: there it is a word.
#[cfg(feature = "serde")]
pub(crate) mod number {
    use serde::de::{Error, Unexpected, Visitor};
    use serde::{Deserializer, Serialize, Serializer};
    use std::fmt;

    pub fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if number.is_finite() || !serializer.is_human_readable() {
            return number.serialize(serializer);
        }
        serializer.collect_str(number)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_any(Number)
        } else {
            serde::Deserialize::deserialize(deserializer)
        }
    }

    struct Number;

    impl Visitor<'_> for Number {
        type Value = f64;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a number or inf")
        }

        fn visit_f64<E: Error>(self, number: f64) -> Result<f64, E> {
            Ok(number)
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<f64, E> {
            Ok(number as f64)
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<f64, E> {
            Ok(number as f64)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<f64, E> {
            text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Text;

    #[test]
    fn what_is_written_can_be_read() {
        fn same<T: Text + PartialEq + Default>(value: T) {
            let mut read = T::default();
            assert_eq!(read.read(&value.write()), Ok(()), "{value:?}");
            assert_eq!(read, value);
        }
        [0.0, 1e-8, -1e-8, 0.1, 1e300, f64::MIN_POSITIVE, 3.0].into_iter().for_each(same);
        [vec![], vec![7], vec![1, 2, u64::MAX]].into_iter().for_each(same);
        [None, Some(0)].into_iter().for_each(same::<Option<u64>>);
        [true, false].into_iter().for_each(same);
    }
}
