//! Layers and losses: values, gradients and running statistics are PyTorch's; single precision is as near as PyTorch's own.

use crate::common::engines;
use crate::common::golden_lines;
use crate::common::modules::{self, are_as_near_as_pytorchs_own, are_those_of_pytorch, largest};
use crate::common::numbers::doubles;
use crate::common::taped::{BY_DIFFERENCES, Input, Taped, check_gradients, record};
use serde_json::Value as Json;
use thalweg::cpu::Cpu;
use thalweg::nn::{
    AbsoluteError, BatchNorm1d, BinaryCrossEntropy, Criterion, CrossEntropy, Dropout, Embedding, Flatten, Huber, Init,
    KlDivergence, LayerNorm, Linear, Model, Nonlinearity, Residual, RmsNorm, Sequential, SquaredError, Tape,
};

/// A layer of the goldens by name; `None` for losses.
fn layer(name: &str) -> Option<Box<dyn Model>> {
    let named = |name: &str, layer: Box<dyn Model>| Sequential::new().named(name, layer);
    Some(match name.trim_end_matches("_eval") {
        "relu" => Box::new(Nonlinearity::Relu),
        "leaky_relu" => Box::new(Nonlinearity::LeakyRelu(0.02)),
        "elu" => Box::new(Nonlinearity::Elu(1.3)),
        "gelu" => Box::new(Nonlinearity::Gelu),
        "gelu_tanh" => Box::new(Nonlinearity::GeluTanh),
        "silu" => Box::new(Nonlinearity::Silu),
        "tanh" => Box::new(Nonlinearity::Tanh),
        "sigmoid" => Box::new(Nonlinearity::Sigmoid),
        "softplus" => Box::new(Nonlinearity::Softplus),
        "softmax" => Box::new(Nonlinearity::Softmax),
        "log_softmax" => Box::new(Nonlinearity::LogSoftmax),
        "linear" => Box::new(Linear::new(12, 5)),
        "linear_without_bias" => Box::new(Linear::new(12, 5).without_bias()),
        "linear_of_three" => Box::new(Linear::new(4, 6)),
        "linear_wide" => Box::new(Linear::new(130, 67)),
        "embedding" => Box::new(Embedding { padding: Some(2), ..Embedding::new(6, 5) }),
        "batch_norm" => Box::new(BatchNorm1d::new(12)),
        "batch_norm_of_three" => Box::new(BatchNorm1d { eps: 1e-3, momentum: 0.3, ..BatchNorm1d::new(3) }),
        "batch_norm_plain" => Box::new(BatchNorm1d { affine: false, ..BatchNorm1d::new(4) }),
        "layer_norm" => Box::new(LayerNorm::new(&[12])),
        "layer_norm_of_two" => Box::new(LayerNorm::new(&[3, 4])),
        "layer_norm_plain" => Box::new(LayerNorm { eps: 1e-2, affine: false, ..LayerNorm::new(&[12]) }),
        "rms_norm" => Box::new(RmsNorm::new(&[12])),
        "residual" => {
            Box::new(Residual(named("inner", Box::new(Sequential::new().then(Linear::new(12, 12)).then(Nonlinearity::Tanh)))))
        }
        "perceptron" => Box::new(Sequential::perceptron(12, &[9, 8], 3, Nonlinearity::Relu)),
        "deep" => Box::new(
            Sequential::new()
                .then(Linear::new(12, 8))
                .then(BatchNorm1d::new(8))
                .then(Nonlinearity::Gelu)
                .then(Linear::new(8, 8))
                .then(LayerNorm::new(&[8]))
                .then(Nonlinearity::Silu)
                .then(Linear::new(8, 2)),
        ),
        "flatten" => Box::new(Sequential::new().then(Flatten).then(Linear::new(12, 2))),
        _ => return None,
    })
}

/// A loss of the goldens by name.
fn criterion(name: &str) -> Option<Box<dyn Criterion>> {
    let weights = Some(vec![0.5, 1.0, 2.0, 0.25, 1.5]);
    Some(match name {
        "squared_error" => Box::new(SquaredError),
        "absolute_error" => Box::new(AbsoluteError),
        "huber" => Box::new(Huber { delta: 0.7 }),
        "binary" => Box::new(BinaryCrossEntropy::default()),
        "binary_weighted" => Box::new(BinaryCrossEntropy { positive_weight: 2.5 }),
        "kl" => Box::new(KlDivergence),
        "cross_entropy" | "cross_entropy_large" => Box::new(CrossEntropy::default()),
        "cross_entropy_smooth" => Box::new(CrossEntropy { smoothing: 0.1, ..Default::default() }),
        "cross_entropy_weighted" => Box::new(CrossEntropy { class_weights: weights, ..Default::default() }),
        "cross_entropy_ignored" => Box::new(CrossEntropy { ignored: Some(2), ..Default::default() }),
        "cross_entropy_all" => Box::new(CrossEntropy { smoothing: 0.2, class_weights: weights, ignored: Some(2) }),
        _ => return None,
    })
}

/// Records a case.
fn recorded(case: &Json, lanes: usize) -> Taped {
    let name = case["name"].as_str().expect("a name");
    modules::recorded(case, lanes, |tape, x| match layer(name) {
        Some(layer) => modules::outputs(&*layer, tape, x),
        None => {
            let (of, sum) = name.strip_suffix("_sum").map_or((name.trim_end_matches("_mean"), false), |of| (of, true));
            let criterion = criterion(of).unwrap_or_else(|| panic!("no layer or loss '{name}'"));
            let loss = if sum { criterion.sum(tape, &x[0], &x[1]) } else { criterion.mean(tape, &x[0], &x[1]) };
            vec![loss.clone(), loss.reshape(&[])]
        }
    })
}

#[test]
fn layers_and_losses_are_those_of_pytorch_in_double_precision() {
    let cases = golden_lines("layers");
    assert!(cases.len() > 50);
    are_those_of_pytorch(&cases, recorded);
}

#[test]
fn single_precision_is_as_near_as_pytorchs_own_and_lanes_have_the_same_bits() {
    are_as_near_as_pytorchs_own(&golden_lines("layers"), recorded);
}

#[test]
fn gradients_are_those_of_differences() {
    for case in &golden_lines("layers") {
        let name = case["name"].as_str().expect("a name");
        // Wide layers take long, and differences do not work at kinks or for a row that gets no gradient.
        if ["linear_wide", "relu", "leaky_relu", "perceptron", "embedding"].contains(&name)
            || name.starts_with("absolute_error")
            || name.contains("large")
        {
            continue;
        }
        check_gradients(name, &mut recorded(case, 1), BY_DIFFERENCES);
    }
}

#[test]
fn dropout_keeps_its_share_and_has_the_same_mask_forward_and_backward() {
    let (rows, columns) = (64, 50);
    let x = Input::Floats(vec![rows, columns], vec![1.0; rows * columns]);
    let of = |tape: Tape, p: f64| {
        record(2, tape, std::slice::from_ref(&x), true, |tape, x| {
            let first = Dropout { p }.forward(tape, &x[0]);
            let second = Dropout { p }.forward(tape, &x[0]);
            vec![(&first + &(&second * 0.0)).sum(&[]), first, second]
        })
        .expect("a recording")
    };
    let taped = of(Tape::training(), 0.2);
    let right = taped.run(&Cpu::<f64>::default(), 5, 1);
    for engine in engines::all() {
        let found = taped.run(&engine, 5, 1);
        for lane in &found {
            let mask = &lane.outputs[1];
            let zeros = mask.iter().filter(|x| **x == 0.0).count() as f64 / mask.len() as f64;
            // Five standard deviations.
            assert!((zeros - 0.2).abs() < 5.0 * (0.16 / mask.len() as f64).sqrt(), "{}: {zeros}", engine.name);
            assert!(mask.iter().all(|x| *x == 0.0 || *x == 1.25), "{}", engine.name);
            assert_eq!(lane.of_inputs[0], *mask, "{}: the gradient has another mask", engine.name);
            assert_ne!(lane.outputs[2], *mask, "{}: two layers have one mask", engine.name);
        }
        assert!(
            found[0].outputs[1].iter().zip(&right[0].outputs[1]).all(|(a, b)| (*a == 0.0) == (*b == 0.0)),
            "{}",
            engine.name
        );
        assert_ne!(taped.run(&engine, 6, 1)[0].outputs[1], found[0].outputs[1], "{}: two steps have one mask", engine.name);
        assert_eq!(taped.run(&engine, 5, 2)[0].outputs[1], found[0].outputs[1], "{}: a step that is not applied", engine.name);
    }
    for taped in [of(Tape::evaluation(), 0.2), of(Tape::training(), 0.0)] {
        assert!(taped.run(&Cpu::<f64>::default(), 0, 1)[0].outputs[1].iter().all(|x| *x == 1.0));
    }
}

#[test]
fn weights_of_samples_and_the_other_libraries_running_statistics() {
    let inputs = [Input::Floats(vec![4, 3], doubles(1, 12)), Input::Indices(vec![4], vec![0, 2, 1, 1])];
    let weights = Input::Floats(vec![4], vec![1.0, 0.0, 3.0, 0.5]);
    let all = [&inputs[..], &[weights]].concat();
    let found = record(1, Tape::training(), &all, false, |tape, x| {
        let criterion = CrossEntropy::default();
        let terms = criterion.terms(tape, &x[0], &x[1]).losses;
        vec![criterion.weighted_mean(tape, &x[0], &x[1], &x[2]), terms]
    });
    let found = found.expect("a recording").run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
    let [a, _, c, d] = found.outputs[1][..] else { panic!("four terms") };
    assert!((found.outputs[0][0] - (a + 3.0 * c + 0.5 * d) / 4.5).abs() < 1e-12);

    let x = [Input::Floats(vec![2, 1], vec![1.0, 3.0])];
    for (norm, mean, variance) in [
        (BatchNorm1d::new(1), 0.2, 0.9 + 0.1 * 2.0),
        (BatchNorm1d::burn(1), 0.2, 0.9 + 0.1),
        (BatchNorm1d::keras(1), 0.02, 0.99 + 0.01),
    ] {
        let taped =
            record(1, Tape::training(), &x, true, |tape, x| vec![norm.forward(tape, &x[0]).sum(&[])]).expect("a recording");
        let buffers = taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0).buffers;
        assert!((buffers[0].1[0] - mean).abs() < 1e-12 && (buffers[1].1[0] - variance).abs() < 1e-12, "{norm:?}: {buffers:?}");
    }
}

#[test]
fn mistakes_name_layer_and_shapes() {
    let refused = |shape: &[usize], model: &dyn Model, message: &str| {
        let inputs = [Input::Floats(shape.to_vec(), vec![0.5; shape.iter().product()])];
        let error = record(1, Tape::training(), &inputs, false, |tape, x| vec![tape.layer("fc", model, &x[0])]);
        assert_eq!(error.map(drop).unwrap_err().to_string(), message);
    };
    refused(&[4, 3], &Linear::new(5, 2), "fc: input of a linear layer: [4, 3] found, a last dimension of 5 expected");
    let two = Sequential::new().then(Linear::new(3, 4)).then(Linear::new(5, 2));
    refused(&[4, 3], &two, "fc.1: input of a linear layer: [4, 4] found, a last dimension of 5 expected");
    refused(
        &[4, 3],
        &BatchNorm1d::new(4),
        "fc: input of batch normalisation: [4, 3] found, 4 features in the second dimension expected",
    );
    let message = "fc: input of batch normalisation: [1, 3] found, more than one value per feature while training expected";
    refused(&[1, 3], &BatchNorm1d::new(3), message);
    refused(&[4, 3], &LayerNorm::new(&[4]), "fc: input of a normalisation: [4, 3] found, last dimensions of [4] expected");
    refused(&[4, 3], &Dropout { p: 1.0 }, "dropout = 1 is out of range: at least 0 and below 1");
    refused(&[4, 3], &Embedding::new(3, 2), "fc: row numbers: a value found, an input of indices expected");
    let inputs = [Input::Floats(vec![4, 3], vec![0.5; 12]), Input::Floats(vec![4], vec![0.5; 4])];
    let wrong = record(1, Tape::training(), &inputs, false, |tape, x| vec![SquaredError.mean(tape, &x[0], &x[1])]);
    assert_eq!(wrong.map(drop).unwrap_err().to_string(), "target of the loss: [4] found, [4, 3] expected");
}

#[test]
fn parameters_start_as_they_should() {
    let fill = |init: &Init, name: &str, shape: &[usize], key: [u32; 2]| {
        let mut values = vec![f64::NAN; shape.iter().product()];
        init.fill(name, shape, key, &mut values).expect("values");
        values
    };
    // Mean, variance and largest value, each within five standard deviations of its estimate.
    let spread = |init: Init, variance: f64, largest_allowed: f64| {
        let values = fill(&init, "w", &[200, 300], [1, 2]);
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let found = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        assert!(mean.abs() < 5.0 * (variance / count).sqrt(), "{init:?}: {mean}");
        assert!((found / variance - 1.0).abs() < 5.0 * (2.0 / count).sqrt(), "{init:?}: {found}, not {variance}");
        assert!(largest(&values) <= largest_allowed, "{init:?}: {}", largest(&values));
    };
    spread(Init::Uniform(0.5), 0.25 / 3.0, 0.5);
    spread(Init::Normal(2.0), 4.0, 20.0);
    spread(Init::XavierUniform, 2.0 / 500.0, (6f64 / 500.0).sqrt());
    spread(Init::XavierNormal, 2.0 / 500.0, 1.0);
    spread(Init::HeUniform, 2.0 / 300.0, (6f64 / 300.0).sqrt());
    spread(Init::HeNormal, 2.0 / 300.0, 1.0);
    // The variance of a normal distribution cut at two standard deviations.
    spread(Init::TruncatedNormal(1.0), 0.774_132_2, 2.0);
    for shape in [[5, 9], [9, 5]] {
        let w = fill(&Init::Orthogonal(1.5), "w", &shape, [1, 2]);
        let at = |line: usize, i: usize| if shape[0] < shape[1] { w[line * 9 + i] } else { w[i * 5 + line] };
        for (a, b) in (0..5).flat_map(|a| (0..5).map(move |b| (a, b))) {
            let dot: f64 = (0..9).map(|i| at(a, i) * at(b, i)).sum();
            assert!((dot - if a == b { 2.25 } else { 0.0 }).abs() < 1e-12, "{shape:?}: {dot}");
        }
    }
    let values = |name, key| fill(&Init::Normal(1.0), name, &[3, 4], key);
    assert_eq!(values("w", [1, 2]), values("w", [1, 2]));
    assert!(values("v", [1, 2]) != values("w", [1, 2]) && values("w", [1, 3]) != values("w", [1, 2]));
    let mut few = [0.0; 3];
    let error = Init::XavierUniform.fill("bias", &[3], [1, 2], &mut few).unwrap_err();
    assert_eq!(error.to_string(), "bias, to be initialised by XavierUniform,: 1 found, at least two dimensions expected");
}
