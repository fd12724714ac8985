//! Optimizers with start values.

use super::numbers::numbers;
use thalweg::plan::Engine;
use thalweg::{Optimizer, Real, Recipe};

/// An optimizer whose parameters differ from lane to lane and from tensor to tensor, and are the same in every run.
pub fn started<E: Engine>(engine: &E, recipe: Recipe, tensors: &[(&str, &[usize])]) -> Optimizer<E::Program> {
    let lanes = recipe.lanes();
    let mut optimizer = Optimizer::new(engine, recipe, tensors).unwrap_or_else(|error| panic!("{error}"));
    for lane in 0..lanes {
        for (index, (name, shape)) in tensors.iter().enumerate() {
            let params = numbers((lane * 10 + index) as u64, shape.iter().product());
            let params: Vec<E::Float> = params.into_iter().map(|x| E::Float::of(x.into())).collect();
            optimizer.lane(lane).expect("a lane").set_params(name, &params).expect("parameters");
        }
    }
    optimizer
}
