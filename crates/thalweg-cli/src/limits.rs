//! Limits of an adapter, in the words of who trains a network.

use crate::memory::human;
use anyhow::{Error, anyhow};

/// An error of the library as it is, unless an adapter's limit is in the way: then with layer or tensor, unit, and what to do.
pub fn explain(error: Error, widths: &[usize], batch: usize) -> Error {
    let Some(thalweg::Error::Limit { what, needed, allowed }) = error.downcast_ref() else { return error };
    let todo = "take --engine cpu, or another --hidden or --batch";
    if let Some(tensor) = what.strip_suffix(" in one binding") {
        let (needed, allowed) = (human((*needed).into()), human((*allowed).into()));
        return anyhow!("'{tensor}' takes {needed} in one piece, and the adapter allows {allowed}; {todo}");
    }
    if what.starts_with("the loop of") {
        let layer = widths.iter().position(|&width| width as u64 == *needed);
        let place = match layer {
            Some(layer) => format!("layer {} has {needed} inputs", layer + 1),
            None if batch as u64 == *needed => format!("a batch has {needed} rows"),
            None => format!("{what} takes {needed} turns"),
        };
        return anyhow!("{place}, and this software driver's loops end at {allowed} turns; {todo}");
    }
    anyhow!("{what} needs {needed}, and the adapter allows {allowed}; {todo}")
}

#[cfg(test)]
mod tests {
    use super::explain;

    #[test]
    fn a_limit_names_the_layer_or_tensor_and_the_unit() {
        let say = |what: &str, needed, allowed| {
            let error = thalweg::Error::limit(what, needed, allowed);
            explain(error.into(), &[784, 65_536, 10], 70_000).to_string()
        };
        let loops = "and this software driver's loops end at 65535 turns; take --engine cpu, or another --hidden or --batch";
        assert_eq!(say("the loop of 'matmul_lean'", 65_536, 65_535), format!("layer 2 has 65536 inputs, {loops}"));
        assert_eq!(say("the loop of 'matmul_lean'", 70_000, 65_535), format!("a batch has 70000 rows, {loops}"));
        let binding = say("from in one binding", 4 << 30, 128 << 20);
        assert!(binding.starts_with("'from' takes 4.0 GiB in one piece, and the adapter allows 128.0 MiB; "), "{binding}");
    }
}
