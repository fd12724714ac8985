//! The oracle against PyTorch's own trajectories (tests/golden/torch.jsonl, written by tests/golden/make.py with PyTorch 2.15).
//! `THALWEG_GOLDEN` names another file of the same form. Rules that PyTorch lacks have files of their own, written by
//! tests/golden/lion.py, papers.py and layerwise.py from their papers; what Keras and optax do otherwise is in presets.jsonl,
//! by presets.py.

use crate::common::compare::assert_close;
use serde_json::{Map, Value};
use std::collections::HashSet;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::plan::NormKind;
use thalweg::schedule::Piecewise;
use thalweg::{
    Adagrad, Adam, AdamW, AnyRule, Clip, HyperRow, Lion, NAdam, Optimizer, Recipe, RmsProp, Sgd, rule_by_name, rules, set,
};

/// Relative to the movement (the largest distance of an element from its start at a recorded step), or to a plane's size. f64
/// resolves 2e-16, and a trajectory has 24 steps.
const TOLERANCE: f64 = 1e-12;
/// Cases of the file at hand whose rules are known.
const CASES: usize = 135;
/// Entries of PyTorch's state that depend on the step alone.
const SCALARS: [&str; 3] = ["mu_product", "eta", "mu"];

struct Golden {
    tensors: Vec<(String, Vec<usize>)>,
    params: Vec<Vec<f64>>,
    /// By step, then by tensor.
    grads: Vec<Vec<Vec<f64>>>,
    cases: Vec<Value>,
}

/// PyTorch's file.
fn golden() -> Golden {
    let file = std::env::var("THALWEG_GOLDEN");
    read(&file.unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/golden/torch.jsonl").into()))
}

/// The file of that name in tests/golden.
fn own(name: &str) -> Golden {
    read(&format!("{}/golden/{name}.jsonl", env!("CARGO_MANIFEST_DIR")))
}

fn read(file: &str) -> Golden {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    let header = lines.next().expect("a header");
    let shape =
        |tensor: &Value| tensor["shape"].as_array().expect("a shape").iter().map(|n| n.as_u64().unwrap() as usize).collect();
    let tensors = header["tensors"].as_array().expect("tensors");
    Golden {
        tensors: tensors.iter().map(|tensor| (tensor["name"].as_str().expect("a name").into(), shape(tensor))).collect(),
        params: arrays(&header["params0"]),
        grads: header["grads"].as_array().expect("gradients").iter().map(arrays).collect(),
        cases: lines.collect(),
    }
}

/// One array per tensor.
fn arrays(value: &Value) -> Vec<Vec<f64>> {
    let numbers = |array: &Value| array.as_array().expect("an array").iter().map(|x| x.as_f64().expect("a number")).collect();
    value.as_array().expect("arrays").iter().map(numbers).collect()
}

impl Golden {
    fn optimizer(&self, recipe: Recipe) -> Optimizer<CpuProgram<f64>> {
        let tensors: Vec<(&str, &[usize])> = self.tensors.iter().map(|(name, shape)| (&name[..], &shape[..])).collect();
        Optimizer::new(&Cpu::<f64>::default(), recipe, &tensors).expect("an optimizer")
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().map(|(name, _)| name.as_str())
    }

    fn set_grads(&self, optimizer: &mut Optimizer<CpuProgram<f64>>, step: usize) {
        for (name, grads) in self.names().zip(&self.grads[step]) {
            optimizer.set_grads(name, grads).expect("gradients that fit");
        }
    }

    /// Runs a case and compares the parameters at every step that it records, those to evaluate with where it has them, and the
    /// state at its end.
    fn check(&self, case: &Value, rule: Box<dyn AnyRule>) {
        let what = format!("{} {} {}", case["library"], rule.name(), case["kwargs"]);
        let mut recipe = Recipe::new(rule.clone());
        if let Some(rates) = case["lr"].as_array() {
            let rate = |t: u64| rates[t as usize].as_f64().expect("a rate") / rule.lr();
            recipe = recipe.scale("lr", Piecewise::sampled(rates.len() as u64, rate));
        }
        let mut optimizer = self.optimizer(recipe);
        for (name, params) in self.names().zip(&self.params) {
            optimizer.set_params(name, params).expect("parameters that fit");
        }
        let steps: Vec<u64> = case["steps"].as_array().expect("steps").iter().map(|t| t.as_u64().unwrap()).collect();
        let mut movements: Vec<Vec<f64>> = self.params.iter().map(|params| vec![0.0; params.len()]).collect();
        let mut snapshots = case["params"].as_array().expect("snapshots").iter();
        let mut evals = case["eval"].as_array().into_iter().flatten();
        for t in 1..=*steps.last().expect("a step") {
            self.set_grads(&mut optimizer, t as usize - 1);
            optimizer.step().expect("a step");
            if !steps.contains(&t) {
                continue;
            }
            let expected = arrays(snapshots.next().expect("a snapshot per step"));
            let to_evaluate = evals.next().map_or_else(|| expected.clone(), arrays);
            for (((name, expected), start), movement) in self.names().zip(&expected).zip(&self.params).zip(&mut movements) {
                for ((movement, x), start) in movement.iter_mut().zip(expected).zip(start) {
                    *movement = movement.max((x - start).abs());
                }
                let found = optimizer.params(name).expect("parameters");
                assert_close(&format!("{what}, {name} at step {t}"), &found, expected, |i| TOLERANCE * movement[i]);
            }
            for ((name, expected), movement) in self.names().zip(&to_evaluate).zip(&movements) {
                let found = optimizer.eval_params(name).expect("parameters");
                let what = format!("{what}, {name} to evaluate at step {t}");
                assert_close(&what, &found, expected, |i| TOLERANCE * movement[i]);
            }
        }
        assert!(snapshots.next().is_none() && evals.next().is_none(), "{what}: a step per snapshot");
        let state = case["state"].as_object().expect("state").iter();
        let (scalars, planes): (Vec<_>, Vec<_>) = state.partition(|(key, _)| SCALARS.contains(&key.as_str()));
        // A factored plane is three: of vectors, and of rows and columns of matrices.
        let count = if rule.factored() { 3 } else { rule.planes().len() };
        assert_eq!(planes.len(), count, "{what}: as many planes as it has there");
        // PyTorch keeps these scalars for the next step; here they are in that step's row, if it needs them.
        let next = rule.hyper_row(steps.last().expect("a step") + 1);
        for (key, expected) in scalars {
            if let Some(place) = rule.hyper_names().iter().position(|name| name == key) {
                let expected = arrays(expected)[0][0];
                assert_close(&format!("{what}, {key}"), &[next.0[HyperRow::SHARED.len() + place]], &[expected], |_| {
                    TOLERANCE * expected
                });
            }
        }
        for (key, expected) in planes {
            for ((name, shape), expected) in self.tensors.iter().zip(arrays(expected)) {
                // Vectors have no rows and columns there, and matrices no elements.
                if rule.factored() && (shape.len() >= 2) != key.ends_with("_var") {
                    assert!(expected.is_empty(), "{what}, {key} of {name}");
                    continue;
                }
                let found = optimizer.state(name, plane(key)).expect("a plane");
                assert_close(&format!("{what}, {key} of {name}"), &found, &expected, |i| TOLERANCE * expected[i].abs());
            }
        }
    }
}

/// Our name of a state of PyTorch's.
fn plane(key: &str) -> &str {
    match key {
        "exp_avg" => "m",
        "exp_avg_sq" => "v",
        "max_exp_avg_sq" => "w",
        "momentum_buffer" => "b",
        "square_avg" => "q",
        "grad_avg" | "acc_delta" => "a",
        "exp_inf" => "u",
        "step_size" => "step",
        "variance" => "v",
        same => same,
    }
}

/// A library's version of a rule, with that library's settings.
fn preset(library: Option<&str>, name: &str) -> Option<Box<dyn AnyRule>> {
    let independent_weight_decay = true;
    Some(match (library.unwrap_or("torch"), name) {
        ("torch", "adam") => Adam::torch().into(),
        ("keras", "adam") => Adam::keras().into(),
        ("optax", "adam") => Adam::optax().into(),
        ("torch", "adamw") => AdamW::torch().into(),
        ("keras", "adamw") => AdamW::keras().into(),
        ("optax", "adamw") => AdamW::optax().into(),
        ("torch", "nadam") => NAdam::torch().into(),
        ("keras", "nadam") => NAdam::keras().into(),
        ("optax", "nadam") => NAdam::optax().into(),
        ("torch", "adagrad") => Adagrad::torch().into(),
        ("keras", "adagrad") => Adagrad::keras().into(),
        ("optax", "adagrad") => Adagrad::optax().into(),
        ("torch", "rmsprop") => RmsProp::torch().into(),
        ("keras", "rmsprop") => RmsProp::keras().into(),
        ("optax", "rmsprop") => RmsProp::optax().into(),
        ("torch", "sgd") => Sgd::torch().into(),
        ("keras", "sgd") => Sgd::keras().into(),
        ("optax", "sgd") => Sgd::optax().into(),
        ("loshchilov", "adamw") => AdamW { independent_weight_decay, ..Default::default() }.into(),
        ("loshchilov", "lion") => Lion { independent_weight_decay, ..Default::default() }.into(),
        ("torch", name) => rule_by_name(name).ok()?,
        (library, name) => panic!("{library} has no {name}"),
    })
}

fn configure(rule: &mut dyn AnyRule, kwargs: &Map<String, Value>) {
    for (name, value) in kwargs {
        match value {
            Value::Array(values) => {
                let names = match name.as_str() {
                    "betas" => ["beta1", "beta2", "beta3"],
                    "etas" => ["eta_minus", "eta_plus", ""],
                    "step_sizes" => ["step_min", "step_max", ""],
                    other => panic!("{other} is no known list"),
                };
                for (name, value) in names.iter().zip(values) {
                    set(rule, name, &value.to_string()).expect("a setting");
                }
            }
            value => set(rule, name, &value.to_string()).expect("a setting"),
        }
    }
}

#[test]
fn trajectories_and_state_are_those_of_other_implementations() {
    let files = [golden(), own("lion"), own("papers"), own("presets"), own("layerwise")];
    let (mut ran, mut unknown, mut seen) = (0, 0, HashSet::new());
    let cases = files.iter().flat_map(|golden| golden.cases.iter().map(move |case| (golden, case)));
    for (golden, case) in cases.filter(|(_, case)| case["kind"] == "optimizer") {
        let name = case["rule"].as_str().expect("a rule").to_lowercase();
        let Some(mut rule) = preset(case["library"].as_str(), &name) else {
            unknown += 1;
            continue;
        };
        configure(&mut *rule, case["kwargs"].as_object().expect("settings"));
        golden.check(case, rule);
        seen.insert(name);
        ran += 1;
    }
    println!("{ran} cases agree, {unknown} are of rules that are not known");
    assert!(ran >= CASES, "{ran} cases ran, {CASES} expected");
    let all = rules();
    // Rules of matrices have trajectories of their own: see tests/suite/muon.rs.
    let vectors = all.iter().filter(|rule| rule.orthogonal().is_none());
    let missing: Vec<&str> = vectors.map(|rule| rule.name()).filter(|name| !seen.contains(*name)).collect();
    assert!(
        missing.is_empty(),
        "no case of {missing:?} in the files of make.py, lion.py, papers.py and the like in tests/golden"
    );
}

/// With a learning rate of 1, SGD moves from 0 to minus the clipped gradient.
#[test]
fn clipping_is_that_of_pytorch() {
    let golden = golden();
    let mut seen = Vec::new();
    for case in golden.cases.iter().filter(|case| case["kind"] == "clip") {
        let max = case["value"].as_f64().expect("a bound");
        let kind = match case["norm_type"].as_f64() {
            Some(2.0) => NormKind::L2,
            Some(1.0) => NormKind::L1,
            _ => NormKind::Max,
        };
        let clip = if case["mode"] == "value" { Clip::Value(max) } else { Clip::Norm { max, kind } };
        let mut optimizer = golden.optimizer(Recipe::new(Sgd { lr: 1.0, ..Default::default() }).clip(clip));
        golden.set_grads(&mut optimizer, 1);
        optimizer.step().expect("a step");
        for (name, clipped) in golden.names().zip(arrays(&case["grads"])) {
            let expected: Vec<f64> = clipped.iter().map(|g| -g).collect();
            let found = optimizer.params(name).expect("parameters");
            assert_close(&format!("{clip:?}, {name}"), &found, &expected, |i| TOLERANCE * expected[i].abs());
        }
        if let Some(norm) = case["norm"].as_f64() {
            let found = optimizer.report().expect("a report").norm;
            assert_close(&format!("{clip:?}, norm"), &[found], &[norm], |_| TOLERANCE * norm);
        }
        seen.push(match clip {
            Clip::Norm { kind, .. } => Some(kind),
            _ => None,
        });
    }
    let (l2, l1, max) = (Some(NormKind::L2), Some(NormKind::L1), Some(NormKind::Max));
    assert_eq!(seen, [l2, l2, l1, max, None], "the cases of the file");
}
