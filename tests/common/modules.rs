//! Cases of tests/golden/modules.py: recorded, run, and compared with PyTorch's values.

use super::engines;
use super::taped::{Input, Results, Taped, record};
use serde_json::Value as Json;
use thalweg::cpu::Cpu;
use thalweg::nn::{Model, Tape, Value};

/// The sum of all elements with weights, as in the script.
pub fn weighted(value: &Value, tape: &mut Tape) -> Value {
    let flat = value.reshape(&[value.len()]);
    let weights = tape.places(&[value.len()], 0).apply(|place| (place * 0.7 + 0.3).tanh() + 0.5);
    (&flat * &weights).sum(&[])
}

/// The numbers of a list.
pub fn listed(json: &Json) -> Vec<f64> {
    json.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
}

fn inputs(case: &Json) -> Vec<Input> {
    let shape = |json: &Json| listed(&json["shape"]).into_iter().map(|size| size as usize).collect();
    let input = |json: &Json| match json.get("floats") {
        Some(values) => Input::Floats(shape(json), listed(values)),
        None => Input::Indices(shape(json), listed(&json["indices"]).into_iter().map(|x| x as u32).collect()),
    };
    case["inputs"].as_array().expect("inputs").iter().map(input).collect()
}

/// Records a case with `model`, which makes outputs of inputs: the loss, and the value to compare with PyTorch's output.
pub fn recorded(case: &Json, lanes: usize, model: impl FnOnce(&mut Tape, &[Value]) -> Vec<Value>) -> Taped {
    let name = case["name"].as_str().expect("a name");
    let tape = if name.ends_with("_eval") { Tape::evaluation() } else { Tape::training() };
    let mut taped = record(lanes, tape, &inputs(case), true, model).unwrap_or_else(|error| panic!("{name}: {error}"));
    for (parameter, values) in case["params"].as_object().expect("parameters") {
        taped.set(parameter, &listed(values));
    }
    taped
}

/// A layer's outputs: its loss is a weighted sum.
pub fn outputs(layer: &dyn Model, tape: &mut Tape, x: &[Value]) -> Vec<Value> {
    let output = layer.forward(tape, &x[0]);
    vec![weighted(&output, tape), output]
}

/// All lists of a case: name, found values, right values, and PyTorch's own error in single precision.
fn lists(case: &Json, found: &Results) -> Vec<(String, Vec<f64>, Vec<f64>, f64)> {
    let single = &case["single"];
    let error = |json: &Json| json.as_f64().unwrap_or(0.0);
    let mut lists = vec![
        ("loss".into(), found.outputs[0].clone(), vec![case["loss"].as_f64().expect("a loss")], error(&single["loss"])),
        ("output".into(), found.outputs[1].clone(), listed(&case["output"]["values"]), error(&single["output"])),
    ];
    for (name, grads) in &found.grads {
        lists.push((format!("gradient of {name}"), grads.clone(), listed(&case["grads"][name]), error(&single["grads"][name])));
    }
    for (index, grads) in found.of_inputs.iter().enumerate() {
        // The goldens have no gradients by targets.
        if !grads.is_empty() && (index == 0 || !case["name"].as_str().is_some_and(|name| name.starts_with("kl"))) {
            let right = listed(&case["of_inputs"][index]);
            lists.push((format!("gradient of input {index}"), grads.clone(), right, error(&single["of_inputs"][index])));
        }
    }
    for (name, values) in found.buffers.iter().filter(|(name, _)| name.contains("running")) {
        lists.push((name.clone(), values.clone(), listed(&case["buffers"][name]), 0.0));
    }
    lists
}

pub fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |largest, x| largest.max(x.abs()))
}

/// Cases in double precision: values, gradients and running statistics are PyTorch's.
pub fn are_those_of_pytorch(cases: &[Json], recorded: impl Fn(&Json, usize) -> Taped) {
    for case in cases {
        let found = recorded(case, 1).run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
        let parameters = case["params"].as_object().expect("parameters").len();
        assert_eq!(found.grads.len(), parameters, "{}", case["name"]);
        for (index, right) in case["of_inputs"].as_array().expect("gradients").iter().enumerate() {
            assert_eq!(found.of_inputs[index].len(), listed(right).len(), "{}: gradient of input {index}", case["name"]);
        }
        let running = |name: &&String| name.contains("running");
        let expected = case["buffers"].as_object().map_or(0, |buffers| buffers.keys().filter(running).count());
        assert_eq!(found.buffers.iter().filter(|(name, _)| running(&name)).count(), expected, "{}: buffers", case["name"]);
        for (what, found, right, _) in lists(case, &found) {
            assert_eq!(found.len(), right.len(), "{}: {what}", case["name"]);
            // Both are in double precision, so only the orders of sums differ.
            let bound = 1e-10 * largest(&right).max(1e-3);
            for (i, (found, right)) in found.iter().zip(&right).enumerate() {
                assert!((found - right).abs() <= bound, "{}: {what}[{i}]: {found}, not {right}", case["name"]);
            }
        }
    }
}

/// Cases in single precision, on both engines; lanes have the bits of a model alone.
pub fn are_as_near_as_pytorchs_own(cases: &[Json], recorded: impl Fn(&Json, usize) -> Taped) {
    for engine in [engines::cpu(), engines::gpu()] {
        for case in cases {
            let alone = recorded(case, 1).run(&engine, 0, 1).swap_remove(0);
            let lanes = recorded(case, 3).run(&engine, 0, 1);
            assert!(lanes.iter().all(|lane| *lane == alone), "{}: {}: lanes", engine.name, case["name"]);
            for (what, found, right, error) in lists(case, &alone) {
                // Four times PyTorch's own error, or two units in the last place of the largest value, which for a loss is the
                // sum of the sizes of its terms: they may cancel each other.
                let all = if what == "loss" { alone.outputs[1].iter().map(|x| x.abs()).sum() } else { largest(&right) };
                let bound = (4.0 * error).max((if error == 0.0 { 8.0 } else { 2.0 }) * f64::from(f32::EPSILON) * all);
                for (i, (found, right)) in found.iter().zip(&right).enumerate() {
                    let near = (found - right).abs() <= bound;
                    assert!(near, "{}: {}: {what}[{i}]: {found}, not {right} ± {bound:e}", engine.name, case["name"]);
                }
            }
        }
    }
}
