//! Checks of single settings, shared by every rule.

use super::{Error, Result};

/// `value` must be finite and at least 0, in single precision too: infinity times 0 is NaN.
pub fn not_negative(field: &str, value: f64) -> Result<()> {
    require(value.is_finite() && value >= 0.0, field, value, "finite and at least 0")?;
    let allowed = "from 0 to 3.4e38, the range of single precision";
    if in_single(value) { Ok(()) } else { Err(Error::setting(field, format!("{value:e}"), allowed)) }
}

/// `value` must be finite and above 0, in single precision too: an epsilon of zero would turn padding into NaN.
pub fn positive(field: &str, value: f64) -> Result<()> {
    require(value.is_finite() && value > 0.0, field, value, "finite and above 0")?;
    let single = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
    let allowed = "from 1.2e-38 to 3.4e38, the range of single precision";
    if single.contains(&value) { Ok(()) } else { Err(Error::setting(field, format!("{value:e}"), allowed)) }
}

/// `value` must be finite, in single precision too.
pub fn finite(field: &str, value: f64) -> Result<()> {
    require(value.is_finite(), field, value, "finite")?;
    single(field, value)
}

/// A `value` that is finite must be so in single precision too.
pub fn single(field: &str, value: f64) -> Result<()> {
    let allowed = "from -3.4e38 to 3.4e38, the range of single precision";
    if in_single(value) { Ok(()) } else { Err(Error::setting(field, format!("{value:e}"), allowed)) }
}

/// Whether a finite number stays finite in single precision.
pub(crate) fn in_single(value: f64) -> bool {
    !value.is_finite() || (value as f32).is_finite()
}

/// `value` must be at least 0 and below 1.
pub fn fraction(field: &str, value: f64) -> Result<()> {
    require((0.0..1.0).contains(&value), field, value, "at least 0 and below 1")
}

/// `value` must be above 0 and below 1.
pub fn open_fraction(field: &str, value: f64) -> Result<()> {
    require(value > 0.0 && value < 1.0, field, value, "above 0 and below 1")
}

/// `value` must be finite and at most 0, in single precision too.
pub fn not_positive(field: &str, value: f64) -> Result<()> {
    require(value.is_finite() && value <= 0.0, field, value, "finite and at most 0")?;
    single(field, value)
}

/// `value` must be finite and above 1, in single precision too.
pub fn above_one(field: &str, value: f64) -> Result<()> {
    require(value.is_finite() && value > 1.0, field, value, "finite and above 1")?;
    single(field, value)
}

/// `value` must be finite and at least 1, in single precision too.
pub fn at_least_one(field: &str, value: f64) -> Result<()> {
    require(value.is_finite() && value >= 1.0, field, value, "finite and at least 1")?;
    single(field, value)
}

/// `value` must be from 0 to 100: a power whose sums over many steps stay finite.
pub fn power(field: &str, value: f64) -> Result<()> {
    require((0.0..=100.0).contains(&value), field, value, "from 0 to 100")
}

/// `value` must be a whole number of at least 0.
pub fn count(field: &str, value: f64) -> Result<()> {
    let whole = value.is_finite() && value >= 0.0 && value.fract() == 0.0;
    require(whole, field, value, "a whole number of at least 0")?;
    single(field, value)
}

/// An error that names field, value and range unless `holds`.
pub fn require(holds: bool, field: &str, value: impl ToString, allowed: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::setting(field, value, allowed)) }
}
