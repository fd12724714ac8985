/// A number of twice the digits: the sum of two floats, of which the second is below the last digit of the first. Source:
/// Dekker 1971, *A floating-point technique for extending the available precision*.
#[derive(Debug, Clone, Copy)]
pub(super) struct Twofold(pub f64, f64);

/// The sum of two floats, exactly.
fn sum(a: f64, b: f64) -> Twofold {
    let sum = a + b;
    let from_b = sum - a;
    Twofold(sum, (a - (sum - from_b)) + (b - from_b))
}

impl Twofold {
    /// A whole number, to 106 bits.
    pub fn of(number: u64) -> Self {
        let high = number as f64;
        Self(high, (i128::from(number) - high as i128) as f64)
    }

    pub fn minus(self, other: Self) -> Self {
        let (high, low) = (sum(self.0, -other.0), sum(self.1, -other.1));
        let joined = sum(high.0, high.1 + low.0);
        sum(joined.0, joined.1 + low.1)
    }

    pub fn times(self, other: Self) -> Self {
        let product = self.0 * other.0;
        let error = self.0.mul_add(other.0, -product);
        sum(product, error + (self.0 * other.1 + self.1 * other.0))
    }

    pub fn over(self, other: Self) -> Self {
        let first = self.0 / other.0;
        let rest = self.minus(other.times(Self(first, 0.0)));
        let second = rest.0 / other.0;
        let rest = rest.minus(other.times(Self(second, 0.0)));
        let quotient = sum(first, second);
        sum(quotient.0, quotient.1 + rest.0 / other.0)
    }

    pub fn power(mut self, mut exponent: u64) -> Self {
        let mut power = Self(1.0, 0.0);
        while exponent > 0 {
            if exponent % 2 == 1 {
                power = power.times(self);
            }
            self = self.times(self);
            exponent /= 2;
        }
        power
    }
}
