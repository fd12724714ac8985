//! What a rule keeps beside parameters and gradients.

use super::{AnyRule, Layerwise};

/// Bytes of a float.
const FLOAT: usize = size_of::<f32>();

/// Memory that a rule takes, state and direction.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The arrays as long as the parameters, by their names.
    pub arrays: Vec<&'static str>,
    /// Bytes per parameter in these arrays.
    pub bytes: usize,
    /// The same with every switch on, in tensors of any shape.
    pub most: usize,
    /// What is counted in another way, in bytes.
    pub other: Option<&'static str>,
}

impl Memory {
    /// What a rule takes with these settings; in matrices, where its state follows from their shape.
    pub fn of(rule: &dyn AnyRule) -> Self {
        let names = rule.state_names();
        let planes = if rule.factored() { Vec::new() } else { rule.planes() };
        let direction = (rule.layerwise() == Layerwise::After).then_some("direction");
        let arrays: Vec<_> = planes.into_iter().map(|plane| names[plane]).chain(direction).collect();
        let bytes = FLOAT * arrays.len();
        let most = FLOAT * (names.len() + usize::from(direction.is_some()));
        Self { arrays, bytes, most, other: other(rule) }
    }
}

fn other(rule: &dyn AnyRule) -> Option<&'static str> {
    if rule.factored() {
        return Some("4·(n + m + 1) per n × m matrix");
    }
    if rule.orthogonal().is_some() {
        return Some("at most 16 per element of the largest set of matrices of one shape");
    }
    // A rule that changes the number of a tensor needs memory for it.
    let (row, mut number) = (rule.hyper_row(1).0, 0.0);
    rule.trust_f64(&row, [1.0, 1.0], 1.0, &mut number);
    (number != 0.0).then_some("4 per tensor")
}
