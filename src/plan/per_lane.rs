//! A number of all lanes, or one of each.

use crate::error::{Error, Result};

/// What all lanes of a population have alike, or one per lane: `1.0`, or `[1.0, 2.0]`. In files it is a value or a list.
#[derive(Debug, Clone, PartialEq)]
pub struct PerLane<T>(Vec<T>);

impl<T> From<T> for PerLane<T> {
    fn from(value: T) -> Self {
        Self(vec![value])
    }
}

impl<T> From<Vec<T>> for PerLane<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T, const N: usize> From<[T; N]> for PerLane<T> {
    fn from(values: [T; N]) -> Self {
        Self(values.into())
    }
}

impl<T: Default> Default for PerLane<T> {
    fn default() -> Self {
        T::default().into()
    }
}

impl<T> PerLane<T> {
    /// Checks that there is one for all lanes, or one for each.
    ///
    /// # Errors
    /// [`Error::Shape`], naming `what`.
    pub fn check_lanes(&self, what: &str, lanes: usize) -> Result<()> {
        let found = self.0.len();
        if found == 1 || found == lanes {
            return Ok(());
        }
        let expected = if lanes == 1 { "1".into() } else { format!("1, or {lanes}, one per lane,") };
        Err(Error::shape(format!("{what} of lanes"), expected, found))
    }

    /// All that there are.
    pub fn values(&self) -> &[T] {
        &self.0
    }

    /// Copies of all that there are.
    pub(crate) fn each(&self) -> impl Iterator<Item = T>
    where
        T: Copy,
    {
        self.0.iter().copied()
    }

    /// That of a lane, once they are checked.
    pub(crate) fn of(&self, lane: usize) -> &T {
        &self.0[if self.0.len() == 1 { 0 } else { lane }]
    }
}

#[cfg(feature = "serde")]
mod file {
    use super::PerLane;
    use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
    use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Visitor};
    use serde::ser::{Serialize, Serializer};
    use std::fmt;
    use std::marker::PhantomData;

    impl<T: Serialize> Serialize for PerLane<T> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            match &self.0[..] {
                [one] => one.serialize(serializer),
                each => each.serialize(serializer),
            }
        }
    }

    impl<'de, T: Deserialize<'de>> Deserialize<'de> for PerLane<T> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_any(OneOrMany(PhantomData))
        }
    }

    /// Not serde's `untagged`, which tries one form after the other and so loses the reason of an error.
    struct OneOrMany<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrMany<T> {
        type Value = PerLane<T>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a value, or a list of one per lane")
        }

        fn visit_f64<E: Error>(self, value: f64) -> Result<PerLane<T>, E> {
            T::deserialize(value.into_deserializer()).map(PerLane::from)
        }

        fn visit_i64<E: Error>(self, value: i64) -> Result<PerLane<T>, E> {
            T::deserialize(value.into_deserializer()).map(PerLane::from)
        }

        fn visit_u64<E: Error>(self, value: u64) -> Result<PerLane<T>, E> {
            T::deserialize(value.into_deserializer()).map(PerLane::from)
        }

        fn visit_str<E: Error>(self, value: &str) -> Result<PerLane<T>, E> {
            T::deserialize(value.into_deserializer()).map(PerLane::from)
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PerLane<T>, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(PerLane::from)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, values: A) -> Result<PerLane<T>, A::Error> {
            Vec::deserialize(SeqAccessDeserializer::new(values)).map(PerLane)
        }
    }
}

/// Numbers that may be infinite, which JSON writes as a word.
#[cfg(feature = "serde")]
pub(crate) mod numbers {
    use super::PerLane;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct Number(#[serde(with = "crate::text::number")] f64);

    pub fn serialize<S: Serializer>(numbers: &PerLane<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        PerLane(numbers.0.iter().copied().map(Number).collect()).serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PerLane<f64>, D::Error> {
        let PerLane(numbers) = PerLane::<Number>::deserialize(deserializer)?;
        Ok(PerLane(numbers.into_iter().map(|Number(number)| number).collect()))
    }
}
