//! Settings of any kind, read from and written as text.

/// A setting as the registry sees it.
pub(super) trait Text {
    /// Takes the value that the text names, or says which values there are.
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

parsed! { f64: "a number", u64: "a whole number", bool: "true or false" }

impl<T: Text + Default> Text for Vec<T> {
    fn read(&mut self, text: &str) -> Result<(), &'static str> {
        let read = |item| {
            let mut value = T::default();
            value.read(item).map(|()| value)
        };
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
        impl crate::schedule::text::Text for $kind {
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

pub(super) use words;
