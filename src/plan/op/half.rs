//! Floats of 16 bits.

/// A float type of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Half {
    /// IEEE 754 binary16: 5 bits of exponent, 10 of fraction; infinite from 65,520 on.
    F16,
    /// The upper half of an `f32`, rounded to the nearest, ties to even.
    Bf16,
}

impl Half {
    /// The bits of the nearest value, ties to even.
    pub fn bits(self, x: f32) -> u16 {
        match self {
            Self::F16 => half::f16::from_f32(x).to_bits(),
            Self::Bf16 => half::bf16::from_f32(x).to_bits(),
        }
    }

    /// The value of bits.
    pub fn value(self, bits: u16) -> f32 {
        match self {
            Self::F16 => half::f16::from_bits(bits).to_f32(),
            Self::Bf16 => half::bf16::from_bits(bits).to_f32(),
        }
    }
}
