//! The table of a rule's settings: struct, defaults, checks and documentation are made from it.

/// Declares the settings of a [`Rule`](crate::Rule), one line each: documentation, kind, name, default, range.
///
/// | kind | field | by name |
/// | --- | --- | --- |
/// | `number` | `f64` | [`Setting::Number`](crate::Setting::Number) |
/// | `numbers` | a tuple of `f64`, with the name of each | a number each |
/// | `flag` | `bool` | [`Setting::Flag`](crate::Setting::Flag) |
/// | `fixed` | the type that is given | [`Setting::Fixed`](crate::Setting::Fixed) |
/// | `fixed_numbers` | a tuple of `f64`, with the name of each | a fixed setting each |
///
/// The range is a function of [`range`](crate::range); without one every value is allowed, or the rule checks it itself. The
/// macro makes the struct, with range and default in the documentation of each field, its `Default`, and its
/// [`Configure`](crate::Configure).
///
/// # Examples
///
/// ```
/// use thalweg::{Configure, settings};
///
/// settings! {
///     /// Moves against the gradient's sign.
///     pub struct SignSgd {
///         /// Learning rate.
///         number lr = 1e-3, not_negative;
///         /// Two settings in one field.
///         numbers betas(beta1, beta2) = (0.9, 0.99), fraction;
///         /// Climb instead of descend.
///         flag maximize = false;
///     }
/// }
///
/// let mut rule = SignSgd { lr: -1.0, ..Default::default() };
/// assert_eq!(rule.check_ranges().unwrap_err().to_string(), "lr = -1 is out of range: finite and at least 0");
/// assert_eq!(rule.settings().len(), 4);
/// ```
#[macro_export]
macro_rules! settings {
    (
        $(#[$meta:meta])*
        pub struct $rule:ident {
            $(
                $(#[doc = $doc:expr])*
                $kind:ident $field:ident $(($($part:ident),+))? $(: $type:ty)? = $default:expr $(, $range:ident)?;
            )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $rule {
            $(
                $(#[doc = $doc])*
                #[doc = $crate::settings!(@doc $default $(, $range)?)]
                pub $field: $crate::settings!(@type $kind $(($($part),+))? $($type)?),
            )*
        }

        impl Default for $rule {
            fn default() -> Self {
                Self { $($field: $default),* }
            }
        }

        impl $crate::Configure for $rule {
            fn check_ranges(&self) -> $crate::Result<()> {
                $($crate::settings!(@check $kind self.$field, stringify!($field) $(, ($($part),+))? $(, $range)?);)*
                Ok(())
            }

            #[allow(unused_mut, reason = "a rule may have no settings")]
            fn settings(&mut self) -> $crate::Settings<'_> {
                let mut settings = $crate::Settings::new();
                $($crate::settings!(@push $kind settings, self.$field, stringify!($field) $(, ($($part),+))?);)*
                settings
            }
        }
    };

    (@type number) => { f64 };
    (@type flag) => { bool };
    (@type numbers ($a:ident, $b:ident)) => { (f64, f64) };
    (@type numbers ($a:ident, $b:ident, $c:ident)) => { (f64, f64, f64) };
    (@type fixed $type:ty) => { $type };
    (@type fixed_numbers ($a:ident, $b:ident, $c:ident)) => { (f64, f64, f64) };

    // A flag is on or off; everything else is as it is written.
    (@doc true) => { "Default: on." };
    (@doc false) => { "Default: off." };
    (@doc $default:expr) => { concat!("Default: ", stringify!($default), ".") };
    (@doc $default:expr, $range:ident) => {
        concat!("Range: ", $crate::settings!(@range $range), ". Default: ", stringify!($default), ".")
    };

    // The words of the errors; a test compares them.
    (@range not_negative) => { "finite and at least 0" };
    (@range positive) => { "finite and above 0" };
    (@range fraction) => { "at least 0 and below 1" };
    (@range open_fraction) => { "above 0 and below 1" };
    (@range finite) => { "finite" };
    (@range not_positive) => { "finite and at most 0" };
    (@range above_one) => { "finite and above 1" };
    (@range at_least_one) => { "finite and at least 1" };
    (@range power) => { "from 0 to 100" };
    (@range count) => { "a whole number of at least 0" };

    (@check $kind:ident $value:expr, $name:expr) => {};
    (@check $kind:ident $value:expr, $name:expr, $range:ident) => { $crate::range::$range($name, $value)? };
    (@check $kind:ident $value:expr, $name:expr, ($a:ident, $b:ident)) => {};
    (@check $kind:ident $value:expr, $name:expr, ($a:ident, $b:ident, $c:ident)) => {};
    (@check $kind:ident $value:expr, $name:expr, ($a:ident, $b:ident), $range:ident) => {
        $crate::range::$range(stringify!($a), $value.0)?;
        $crate::range::$range(stringify!($b), $value.1)?
    };
    (@check $kind:ident $value:expr, $name:expr, ($a:ident, $b:ident, $c:ident), $range:ident) => {
        $crate::settings!(@check $kind $value, $name, ($a, $b), $range);
        $crate::range::$range(stringify!($c), $value.2)?
    };

    (@push number $list:ident, $value:expr, $name:expr) => { $list.push(($name, $crate::Setting::Number(&mut $value))) };
    (@push flag $list:ident, $value:expr, $name:expr) => { $list.push(($name, $crate::Setting::Flag(&mut $value))) };
    (@push fixed $list:ident, $value:expr, $name:expr) => { $list.push(($name, $crate::Setting::Fixed(&mut $value))) };
    (@push numbers $list:ident, $value:expr, $name:expr, ($a:ident, $b:ident)) => {
        $list.push((stringify!($a), $crate::Setting::Number(&mut $value.0)));
        $list.push((stringify!($b), $crate::Setting::Number(&mut $value.1)))
    };
    (@push numbers $list:ident, $value:expr, $name:expr, ($a:ident, $b:ident, $c:ident)) => {
        $crate::settings!(@push numbers $list, $value, $name, ($a, $b));
        $list.push((stringify!($c), $crate::Setting::Number(&mut $value.2)))
    };
    (@push fixed_numbers $list:ident, $value:expr, $name:expr, ($a:ident, $b:ident, $c:ident)) => {
        $list.push((stringify!($a), $crate::Setting::Fixed(&mut $value.0)));
        $list.push((stringify!($b), $crate::Setting::Fixed(&mut $value.1)));
        $list.push((stringify!($c), $crate::Setting::Fixed(&mut $value.2)))
    };
}

#[cfg(test)]
mod tests {
    use crate::{Error, range};

    /// What is documented for a range, and what its error says is allowed.
    macro_rules! words {
        ($($range:ident),*) => {
            [$(($crate::settings!(@range $range), range::$range("x", f64::NAN))),*]
        };
    }

    #[test]
    fn documented_ranges_are_those_of_the_errors() {
        let all = words!(
            not_negative,
            positive,
            fraction,
            open_fraction,
            finite,
            not_positive,
            above_one,
            at_least_one,
            power,
            count
        );
        for (documented, result) in all {
            match result {
                Err(Error::Setting { allowed, .. }) => assert_eq!(allowed, documented),
                other => panic!("{documented}: {other:?}"),
            }
        }
    }
}
