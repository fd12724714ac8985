//! Limits of an adapter, explained to somebody who trains a network.

use crate::memory::human;
use anyhow::{Error, anyhow};
use thalweg::Unit;

/// An error of the library as it is. If an adapter's limit stops a layer, the error names the layer and says what to do.
pub fn explain(error: Error, widths: &[usize], batch: usize) -> Error {
    let Some(thalweg::Error::Limit { what, needed, allowed, unit }) = error.downcast_ref() else { return error };
    let todo = "take --engine cpu, or another --hidden or --batch";
    match unit {
        Unit::Binding => {
            let (needed, allowed) = (human((*needed).into()), human((*allowed).into()));
            anyhow!("{what} of this network takes {needed} in one piece, and the adapter allows {allowed}; {todo}")
        }
        Unit::Turns => {
            let layer = widths.iter().position(|&width| width as u64 == *needed);
            let place = match layer {
                Some(layer) => format!("layer {} has {needed} inputs", layer + 1),
                None if batch as u64 == *needed => format!("a batch has {needed} rows"),
                None => format!("{what} takes {needed} turns of a loop"),
            };
            anyhow!("{place}, and this software driver's loops end at {allowed} turns; {todo}")
        }
        _ => anyhow!("{what} needs {needed} {unit}, and the adapter allows {allowed}; {todo}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_names_the_layer_or_tensor_and_the_unit() {
        let say = |what: &str, needed, allowed, unit| {
            let error = thalweg::Error::limit(what, needed, allowed, unit);
            explain(error.into(), &[784, 65_536, 10], 70_000).to_string()
        };
        let loops = "and this software driver's loops end at 65535 turns; take --engine cpu, or another --hidden or --batch";
        let product = "a product of 64 × 65536 and 65536 × 10 matrices";
        assert_eq!(say(product, 65_536, 65_535, Unit::Turns), format!("layer 2 has 65536 inputs, {loops}"));
        assert_eq!(say(product, 70_000, 65_535, Unit::Turns), format!("a batch has 70000 rows, {loops}"));
        let binding = say("the buffer 'params'", 4 << 30, 128 << 20, Unit::Binding);
        let expected = "the buffer 'params' of this network takes 4.0 GiB in one piece, and the adapter allows 128.0 MiB; ";
        assert!(binding.starts_with(expected), "{binding}");
    }
}
