//! The tape: gradients of every kind of operation against differences, values in shared memory, mistakes.

use crate::common::engines;
use crate::common::numbers::doubles;
use crate::common::taped::{Input, Results, check_gradients, record};
use thalweg::cpu::Cpu;
use thalweg::nn::{
    AvgPool2d, BatchNorm2d, Cell, Conv2d, Dropout, Flatten, Init, Linear, MaxPool2d, Model, Nonlinearity, Places, Recurrent,
    Reshape, Sequential, Slots, Tape, TransformerBlock, Value,
};
use thalweg::op::Expr;
use thalweg::plan::{Blueprint, Engine, Layout, Plan, Program, View};

fn floats(seed: u64, shape: &[usize]) -> Input {
    Input::Floats(shape.to_vec(), doubles(seed, shape.iter().product()))
}

/// A model and its inputs. Its output is summed with weights, so that every element has its own slope.
type Case = (&'static str, Vec<Input>, fn(&mut Tape, &[Value]) -> Value);

fn cases() -> Vec<Case> {
    let two = || vec![floats(1, &[3, 4]), floats(2, &[3, 4])];
    vec![
        ("a sum of products", two(), |_, x| &(&x[0] * &x[1]) + &x[0]),
        ("broadcast", vec![floats(1, &[3, 4]), floats(2, &[4]), floats(3, &[3, 1])], |_, x| &(&x[0] * &x[1]).tanh() * &x[2]),
        ("a square of itself", two(), |_, x| &(&x[0] * &x[0]) - &x[1].sigmoid()),
        ("a transposed operand", vec![floats(1, &[3, 4]), floats(2, &[4, 3])], |_, x| (&x[0] * &x[1].transpose()).exp()),
        ("a product", vec![floats(1, &[3, 4]), floats(2, &[4, 5])], |_, x| x[0].matmul(&x[1]).tanh()),
        ("a product of transposed", vec![floats(1, &[4, 3]), floats(2, &[5, 4])], |_, x| {
            x[0].transpose().matmul(&x[1].transpose())
        }),
        ("a product transposed on the left", vec![floats(1, &[4, 3]), floats(2, &[4, 5])], |_, x| {
            x[0].transpose().matmul(&x[1])
        }),
        ("a product of a batch with one", vec![floats(1, &[2, 3, 4]), floats(2, &[4, 5])], |_, x| x[0].matmul(&x[1])),
        ("products in a batch", vec![floats(1, &[2, 3, 4]), floats(2, &[2, 4, 5])], |_, x| x[0].matmul(&x[1])),
        ("products in a batch transposed", vec![floats(1, &[2, 3, 4]), floats(2, &[2, 5, 4])], |_, x| {
            x[0].matmul(&x[1].transpose())
        }),
        ("a sum over rows", two(), |_, x| x[0].square().sum(&[0])),
        ("a sum over columns", two(), |_, x| (&x[0] * &x[1]).sum(&[1])),
        ("a sum over two axes", vec![floats(1, &[2, 3, 4])], |_, x| x[0].square().sum(&[0, 2])),
        ("a mean of all", two(), |_, x| x[0].square().mean(&[])),
        ("moments", two(), |_, x| {
            let [mean, variance] = x[0].moments(&[1]);
            &(&x[0] - &mean) / &(&variance + 0.1).sqrt()
        }),
        ("moments over the first axis", two(), |_, x| {
            let [mean, variance] = (&x[0] * &x[1]).moments(&[0]);
            &mean.square() + &variance
        }),
        ("the logarithm of a sum of powers", two(), |_, x| (&x[0] * 3.0).log_sum_exp(1)),
        ("softmax along the first axis", two(), |_, x| x[0].softmax(0)),
        ("a shape of more dimensions", two(), |_, x| x[0].reshape(&[2, 3, 2]).permute(&[2, 0, 1]).square()),
        ("a slice of columns", two(), |_, x| (&x[0].slice(1, 1..3) * &x[1].slice(1, 0..2)).tanh()),
        ("a slice of rows", vec![floats(1, &[5, 2])], |_, x| x[0].slice(0, 1..4).square()),
        ("a slice of the middle", vec![floats(1, &[3, 4, 2])], |_, x| x[0].slice(1, 1..3).square()),
        ("one column, repeated", two(), |_, x| &x[0].slice(1, 2..3) * &x[1]),
        ("a slice in a product", vec![floats(1, &[4, 3]), floats(2, &[3, 2])], |_, x| x[0].slice(0, 1..3).matmul(&x[1])),
        ("a column in a product", vec![floats(1, &[4, 3]), floats(2, &[2, 2])], |_, x| x[0].slice(1, 1..3).matmul(&x[1])),
        ("a slice of a slice", two(), |_, x| x[0].slice(1, 1..4).slice(0, 0..2).slice(1, 0..2).square()),
        ("side by side", two(), |tape, x| tape.concatenate(&[&x[0], &x[1], &x[0].square()], 1).tanh()),
        ("one below the other", two(), |tape, x| tape.concatenate(&[&x[0].exp(), &x[1]], 0).square()),
        ("a residual around a product", vec![floats(1, &[3, 4]), floats(2, &[4, 4])], |_, x| {
            let inner = &x[0] + &x[0].matmul(&x[1]).relu();
            &inner + &inner.matmul(&x[1]).tanh()
        }),
        ("parts of one value in several uses", two(), |_, x| {
            let sum = (&x[0] + &x[1]).tanh();
            &(&sum.sum(&[0]) * &sum) + &sum.softmax(1)
        }),
        ("more terms than a kernel has views", vec![floats(1, &[5]), floats(2, &[5]), floats(3, &[5])], |_, x| {
            let terms: Vec<Value> = (0..7).map(|i| x[i % 3].apply(|x| (x * (0.5 + i as f64)).tanh())).collect();
            let products: Vec<Value> = terms.iter().enumerate().map(|(i, term)| &x[(i + 1) % 3] * term).collect();
            let rest = terms.iter().skip(1).fold(terms[0].clone(), |product, term| &product * term);
            products.iter().fold(rest, |sum, term| &sum + term)
        }),
        ("places", vec![floats(1, &[3, 4])], |tape, x| &tape.places(&[3, 4], 1) * &x[0].square()),
        ("rows of a table", vec![floats(1, &[4, 3]), Input::Indices(vec![2, 3], vec![1, 3, 1, 0, 9, 1])], |tape, x| {
            tape.lookup(&x[0].square(), &x[1]).tanh()
        }),
        ("random numbers", two(), |tape, x| &tape.uniform(&[3, 4]) * &(&x[0] * &x[1]).exp()),
        ("an own function of three", vec![floats(1, &[2, 3]), floats(2, &[3]), floats(3, &[2, 1])], |tape, x| {
            tape.map(&[&x[0], &x[1], &x[2]], |of| (of[0].clone() * of[1].clone()).max(of[2].clone()).softplus() / 2.0)
        }),
        ("no dimension", vec![floats(1, &[])], |_, x| x[0].square()),
        ("a shape of one element", vec![floats(1, &[1, 1]), floats(2, &[2, 3])], |_, x| &x[0] * &x[1].exp()),
    ]
}

/// The weighted sum of all elements.
fn weighted(value: &Value, tape: &mut Tape) -> Value {
    let flat = value.reshape(&[value.len()]);
    let places = tape.places(&[value.len()], 0);
    let weights = places.apply(|place| (place * 0.7 + 0.3).tanh() + 0.5);
    (&flat * &weights).sum(&[])
}

#[test]
fn gradients_are_those_of_differences() {
    for (what, inputs, model) in cases() {
        let recorded = record(1, Tape::training(), &inputs, true, |tape, x| {
            let value = model(tape, x);
            vec![weighted(&value, tape)]
        });
        let mut taped = recorded.unwrap_or_else(|error| panic!("{what}: {error}"));
        check_gradients(what, &mut taped, 1e-7);
    }
}

#[test]
fn every_engine_computes_the_same_alone_and_in_lanes() {
    for (what, inputs, model) in cases() {
        let record = |lanes| {
            record(lanes, Tape::training(), &inputs, true, |tape, x| {
                let value = model(tape, x);
                vec![weighted(&value, tape), value]
            })
            .unwrap_or_else(|error| panic!("{what}: {error}"))
        };
        let right = record(1).run(&Cpu::<f64>::default(), 3, 1).swap_remove(0);
        for engine in [engines::cpu(), engines::gpu()] {
            let lanes = record(3).run(&engine, 3, 1);
            let alone = record(1).run(&engine, 3, 1);
            assert!(lanes.iter().all(|lane| *lane == alone[0]), "{what}: {}", engine.name);
            for (found, right) in numbers(&alone[0]).iter().zip(numbers(&right)) {
                let largest = right.iter().fold(0.0, |largest: f64, x| largest.max(x.abs()));
                for (found, right) in found.iter().zip(right) {
                    // A few dozen operations on values of a few units.
                    assert!((found - right).abs() <= 3e-6 * largest.max(1.0), "{what}: {}: {found}, not {right}", engine.name);
                }
            }
        }
    }
}

fn numbers(results: &Results) -> Vec<Vec<f64>> {
    [&results.outputs[..], &results.of_inputs].concat()
}

#[test]
fn mistakes_are_found_while_recording_and_name_layer_and_shapes() {
    let refused = |model: fn(&mut Tape, &[Value]) -> Value, message: &str| {
        let inputs = [floats(1, &[3, 4]), floats(2, &[5, 4])];
        let error = record(1, Tape::training(), &inputs, true, |tape, x| vec![tape.named("head", |tape| model(tape, x))]);
        assert_eq!(error.map(drop).unwrap_err().to_string(), message);
    };
    refused(|_, x| x[0].matmul(&x[1]), "head: matmul: [5, 4] found, a right factor that fits [3, 4] expected");
    refused(|_, x| &x[0] + &x[1], "head: operands: [5, 4] found, a shape that goes with [3, 4] expected");
    refused(|_, x| x[0].reshape(&[5]), "head: reshape: [5] found, 12 elements expected");
    refused(|_, x| x[0].slice(1, 2..5), "head: slice: 2..5 of axis 1 found, a part of [3, 4] expected");
    refused(|_, x| x[0].permute(&[0, 0]), "head: permute: [0, 0] found, each of 2 dimensions once expected");
    refused(|_, x| x[0].sum(&[2]), "head: axes: [2] found, below 2 expected");
    refused(
        |tape, x| tape.concatenate(&[&x[0], &x[1]], 1),
        "head: values to concatenate: [5, 4] found, [3, 4] but for axis 1 expected",
    );
    refused(|tape, x| tape.lookup(&x[0], &x[1]), "head: row numbers: a value found, an input of indices expected");
    refused(|tape, _| tape.tied("w"), "unknown parameter 'w'");
    refused(
        |tape, _| {
            let w = tape.parameter("w", &[2], Init::Zeros);
            &w + &tape.parameter("w", &[3], Init::Zeros)
        },
        "head: head.w: [3] found, [2] expected",
    );
    // Only the first mistake is reported, not those that follow from it.
    refused(|_, x| x[0].matmul(&x[1]).matmul(&x[0]), "head: matmul: [5, 4] found, a right factor that fits [3, 4] expected");
    let not_one = record(1, Tape::training(), &[floats(1, &[3])], true, |_, x| vec![x[0].exp()]);
    assert_eq!(not_one.map(drop).unwrap_err().to_string(), "the loss: [3] found, one element expected");
}

#[test]
fn values_share_memory_and_what_nobody_needs_is_not_computed() {
    // A chain of products: in the forward pass at most three values are alive at a time, but gradients need all intermediate
    // values.
    let inputs = [floats(1, &[8, 8])];
    let chain = |tape: Tape, backward: bool, count: usize| {
        record(1, tape, &inputs, backward, |_, x| {
            let last = (0..count).fold(x[0].clone(), |value, _| value.matmul(&x[0]));
            vec![last.sum(&[])]
        })
        .expect("a recording")
        .recorded
    };
    let evaluation = chain(Tape::evaluation(), false, 20);
    assert_eq!(evaluation.slots, 2 * 64, "{evaluation:?}");
    assert_eq!(evaluation.unshared, 20 * 64, "{evaluation:?}");
    let training = chain(Tape::training(), true, 20);
    assert!(training.slots as f64 <= 1.3 * training.alive as f64, "{training:?}");
    let unused = record(1, Tape::training(), &inputs, true, |_, x| {
        let _unused = x[0].matmul(&x[0]).exp();
        vec![x[0].square().sum(&[])]
    });
    // The sum, and the gradient.
    assert_eq!(unused.expect("a recording").recorded.operations, 2);
}

#[test]
fn chains_of_functions_are_one_operation_each_way() {
    let inputs = [floats(1, &[4, 3]), floats(2, &[3, 5]), floats(3, &[5])];
    let recorded = record(1, Tape::training(), &inputs, true, |tape, x| {
        let kept = tape.uniform(&[4, 5]).apply(|random| Expr::number(0.2).less_equal(random) / 0.8);
        vec![(&(&x[0].matmul(&x[1]) + &x[2]).relu() * &kept).sum(&[])]
    });
    // A product and a sum; the slope by the product, the slope by the bias, and two products.
    assert_eq!(recorded.expect("a recording").recorded.operations, 6);
}

/// Two sums over the same rows, one of which reads another tensor too.
#[test]
fn reductions_that_read_the_same_are_joined() {
    let inputs = [floats(1, &[4, 3]), floats(2, &[3, 5]), floats(3, &[4, 5])];
    let taped = record(1, Tape::training(), &inputs, false, |_, x| {
        let product = x[0].matmul(&x[1]);
        let (squares, mixed) = (product.square().sum(&[1]), (&x[2] * &product).sum(&[1]));
        vec![(&squares / &mixed).sum(&[])]
    })
    .expect("a recording");
    // A product, both sums, the sum of their quotients.
    assert_eq!(taped.recorded.operations, 3);
    let found = taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0).outputs[0][0];
    let [a, b, c] = [(1, 12), (2, 15), (3, 20)].map(|(seed, len)| doubles(seed, len));
    let product = |row: usize, column: usize| (0..3).map(|k| a[row * 3 + k] * b[k * 5 + column]).sum::<f64>();
    let sums = |row: usize| {
        (0..5).fold([0.0, 0.0], |[squares, mixed], column| {
            let x = product(row, column);
            [squares + x * x, mixed + c[row * 5 + column] * x]
        })
    };
    let right: f64 = (0..4).map(sums).map(|[squares, mixed]| squares / mixed).sum();
    assert!((found - right).abs() <= 1e-12 * right.abs(), "{found}, not {right}");
}

#[test]
fn tied_and_frozen_parameters() {
    let inputs = [floats(1, &[3, 4])];
    let model = |tape: &mut Tape, x: &[Value]| {
        let w = tape.named("first", |tape| tape.parameter("w", &[4, 4], Init::Uniform(0.5)));
        let hidden = x[0].matmul(&w).tanh();
        let tied = tape.tied("first.w");
        let other = tape.named("second", |tape| tape.parameter("w", &[4, 2], Init::Uniform(0.5)));
        vec![hidden.matmul(&tied.transpose()).matmul(&other).square().sum(&[])]
    };
    let mut taped = record(1, Tape::training(), &inputs, true, model).expect("a recording");
    assert_eq!(taped.arena.tensors().len(), 2);
    check_gradients("tied", &mut taped, 1e-7);
    let all = taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
    let mut tape = Tape::training();
    tape.freeze(|name| name.starts_with("first"));
    let frozen = record(1, tape, &inputs, true, model).expect("a recording").run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
    assert_eq!(frozen.grads[1], all.grads[1]);
    assert!(frozen.grads[0].1.iter().all(|grad| *grad == 0.0) && all.grads[0].1.iter().any(|grad| *grad != 0.0));
}

#[test]
fn gradients_stop_where_they_are_told_to_and_begin_at_a_part() {
    let inputs = [floats(1, &[4])];
    let x = doubles(1, 4);
    let detached = record(1, Tape::training(), &inputs, true, |_, x| vec![(&x[0] * &x[0].detached()).sum(&[])]);
    let found = detached.expect("a recording").run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
    assert_eq!(found.of_inputs[0], x);
    let part = record(1, Tape::training(), &inputs, true, |_, x| vec![x[0].square().slice(0, 2..3)]);
    let found = part.expect("a recording").run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
    assert_eq!(found.of_inputs[0], [0.0, 0.0, 2.0 * x[2], 0.0]);
}

/// Two recordings over the same slots, of which the second is smaller: each has its own results.
#[test]
fn recordings_share_their_slots() {
    let mut layout = Layout::new(1);
    let (input, outputs) = (layout.floats("x", 12), [1, 1].map(|len| layout.floats("y", len)));
    let (mut slots, mut plans) = (Slots::default(), Vec::new());
    let mut buffers = Vec::new();
    for (rows, output) in [(4, outputs[0]), (2, outputs[1])] {
        let mut tape = Tape::evaluation();
        let x = tape.input(View { buffer: input, offset: 0, len: rows * 3 }, &[rows, 3]);
        let y = x.matmul(&x.transpose()).matmul(&x).exp().sum(&[]);
        let arena = tape.arena().expect("an arena");
        let params = layout.arena("params", &arena);
        let mut plan = Plan::default();
        let places = Places::new(&arena, params, None);
        let out = layout.whole(output);
        tape.record(&mut layout, &mut plan, &places, &mut slots, &[(&y, out)]).expect("a recording");
        buffers.push(layout.buffers().len());
        plans.push(plan);
    }
    // The second recording declares only its own parameters.
    assert_eq!(buffers[1], buffers[0] + 1);
    let blueprint = Blueprint::of(&layout, &plans);
    let mut program = Cpu::<f64>::default().load(&blueprint).expect("a program");
    let x = doubles(1, 12);
    program.write(input, 0, 0, &x).expect("an input");
    let [four, two] = ["0", "1"].map(|name| blueprint.plan(name).expect("a plan"));
    program.repeat(&[four, two, four], 1).expect("a run");
    for (rows, output) in [(4, outputs[0]), (2, outputs[1])] {
        let dot = |a: usize, b: usize| (0..3).map(|c| x[a * 3 + c] * x[b * 3 + c]).sum::<f64>();
        let element = |r: usize, c: usize| (0..rows).map(|k| dot(r, k) * x[k * 3 + c]).sum::<f64>().exp();
        let right: f64 = (0..rows * 3).map(|i| element(i / 3, i % 3)).sum();
        let found = program.read(output, 0).expect("a sum")[0];
        assert!((found - right).abs() < 1e-10 * right, "{found}, not {right}");
    }
}

/// A value after a mistake has no shape, and layers must not rely on one.
#[test]
fn layers_after_a_mistake_do_not_panic() {
    let first = |record: &dyn Fn(&mut Tape, &Value)| {
        let mut tape = Tape::training();
        let x = tape.parameter("x", &[2, 3], Init::Zeros);
        record(&mut tape, &x);
        tape.check().unwrap_err().to_string()
    };
    let twice = |tape: &mut Tape, x: &Value| {
        Linear::new(3, 4).forward(tape, x);
        Linear::new(3, 5).forward(tape, x);
    };
    assert!(first(&twice).contains("weight"), "{}", first(&twice));
    let by_a_vector = |tape: &mut Tape, x: &Value| {
        let v = tape.parameter("v", &[3], Init::Zeros);
        x.matmul(&v);
    };
    assert!(first(&by_a_vector).contains("matmul"), "{}", first(&by_a_vector));
}

/// The gradient of a weight that is used three times is one product, of all that it was multiplied by.
#[test]
fn a_weight_that_is_used_twice_has_one_product_for_its_gradient() {
    let taped = record(1, Tape::training(), &[floats(1, &[2, 3])], true, |tape, x| {
        let w = tape.parameter("w", &[3, 3], Init::Zeros);
        let y = x[0].matmul(&w).tanh().matmul(&w).tanh().matmul(&w);
        vec![weighted(&y, tape)]
    });
    // Three forward, three back by what was multiplied (the input is watched), one by the weight.
    assert_eq!(taped.expect("a recording").products(), 7);
}

/// Two convolutions over square images, each with a pool, and a linear layer.
fn convolutions(side: usize, [first, second]: [usize; 2]) -> Sequential {
    let model = Sequential::new().then(Reshape(vec![1, side, side]));
    let model = model.then(Conv2d::new(1, first, [3, 3]).padded([1, 1])).then(Nonlinearity::Relu).then(MaxPool2d::new([2, 2]));
    let model = model.then(Conv2d::new(first, second, [3, 3]).padded([1, 1])).then(Nonlinearity::Relu);
    let model = model.then(MaxPool2d::new([2, 2])).then(Flatten);
    model.then(Linear::new(second * (side / 4) * (side / 4), 10))
}

/// A network with its name, the shape of its input, and the floats below which a test of its memory would say little.
type Network = (&'static str, Box<dyn Model>, &'static [usize], usize);

/// Slots are at most 1.3 times what is alive at once, in one lane and in sixteen.
#[test]
fn networks_take_little_more_memory_than_what_is_alive() {
    let normed = || {
        let model = Sequential::new().then(Reshape(vec![1, 8, 8])).then(Conv2d::new(1, 8, [3, 3]).padded([1, 1]));
        let model = model.then(BatchNorm2d::new(8)).then(Nonlinearity::Relu).then(Conv2d::new(8, 16, [3, 3]));
        model
            .then(Nonlinearity::Relu)
            .then(AvgPool2d::new([2, 2]))
            .then(Flatten)
            .then(Dropout { p: 0.5 })
            .then(Linear::new(144, 10))
    };
    let networks: [Network; 10] = [
        ("a perceptron", Box::new(Sequential::perceptron(784, &[128, 64], 10, Nonlinearity::Relu)), &[64, 784], 10_000),
        (
            "a deep perceptron",
            Box::new(Sequential::perceptron(64, &[96, 80, 64, 48, 32], 10, Nonlinearity::Gelu)),
            &[32, 64],
            5_000,
        ),
        ("convolutions", Box::new(convolutions(28, [16, 32])), &[64, 784], 10_000),
        ("convolutions over digits", Box::new(convolutions(8, [8, 16])), &[32, 64], 5_000),
        ("convolutions with norms", Box::new(normed()), &[33, 64], 20_000),
        ("an LSTM", Box::new(Recurrent::new(Cell::Lstm, 64, 128)), &[64, 32, 64], 100_000),
        (
            "a GRU of two layers",
            Box::new(Recurrent { layers: 2, ..Recurrent::new(Cell::Gru, 64, 128) }),
            &[64, 32, 64],
            100_000,
        ),
        (
            "an LSTM in both directions",
            Box::new(Recurrent { both_directions: true, ..Recurrent::new(Cell::Lstm, 12, 20) }),
            &[16, 9, 12],
            5_000,
        ),
        ("a transformer's block", Box::new(TransformerBlock::new(128, 4, 512)), &[16, 64, 128], 100_000),
        (
            "two blocks",
            Box::new(Sequential::new().then(TransformerBlock::new(32, 2, 128)).then(TransformerBlock::new(32, 2, 128))),
            &[8, 16, 32],
            20_000,
        ),
    ];
    for (name, model, shape, least) in networks {
        let data = Input::Data(shape.to_vec(), vec![0.5; shape.iter().product()]);
        // With the gradient of the input, and without it, as trainers record.
        for input in [floats(1, shape), data] {
            let of_lanes = [1, 16].map(|lanes| {
                let taped = record(lanes, Tape::training(), std::slice::from_ref(&input), true, |tape, x| {
                    vec![model.forward(tape, &x[0]).square().sum(&[])]
                });
                taped.expect("a recording").recorded
            });
            let [recorded, of_sixteen] = &of_lanes;
            assert_eq!(recorded, of_sixteen, "{name}");
            assert!(recorded.slots as f64 <= 1.3 * recorded.alive as f64, "{name}: {recorded:?}");
            assert!(recorded.alive < recorded.unshared && recorded.alive > least, "{name}: {recorded:?}");
        }
    }
}
