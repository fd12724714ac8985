//! Recurrent layers, attention and adapters: values and gradients are PyTorch's; single precision is as near as PyTorch's own.

use crate::common::engines;
use crate::common::golden_lines;
use crate::common::modules::{self, weighted};
use crate::common::numbers::doubles;
use crate::common::taped::{BY_DIFFERENCES, Input, Taped, check_gradients, record};
use serde_json::Value as Json;
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::nn::{
    Attention, Cell, Linear, LowRank, Model, Nonlinearity, Places, Positions, Recurrent, RecurrentState, SharedBase, Slots,
    Tape, TransformerBlock, Value,
};
use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program, Scope};
use thalweg::{AdamW, Recipe, Trainer};

/// A recurrent network of the goldens by name.
fn network(name: &str) -> Option<Recurrent> {
    let without_bias = |network: Recurrent| Recurrent { bias: false, ..network };
    let deep = |network: Recurrent| Recurrent { layers: 2, both_directions: true, ..network };
    Some(match name {
        "rnn" => Recurrent::new(Cell::Tanh, 5, 7),
        "rnn_relu" => without_bias(Recurrent::new(Cell::Relu, 5, 7)),
        "lstm" => Recurrent::new(Cell::Lstm, 5, 7),
        "lstm_one_step" => Recurrent::new(Cell::Lstm, 4, 1),
        "lstm_without_bias" => without_bias(Recurrent::new(Cell::Lstm, 5, 7)),
        "lstm_deep" => deep(Recurrent::new(Cell::Lstm, 5, 6)),
        "lstm_wide" => Recurrent::new(Cell::Lstm, 17, 33),
        "gru" => Recurrent::new(Cell::Gru, 5, 7),
        "gru_without_bias" => without_bias(Recurrent::new(Cell::Gru, 5, 7)),
        "gru_deep" => deep(Recurrent::new(Cell::Gru, 5, 6)),
        "rnn_ragged" => Recurrent { both_directions: true, ..Recurrent::new(Cell::Tanh, 3, 4) },
        _ => return None,
    })
}

/// Outputs and last states, one after the other.
fn recurred(tape: &mut Tape, network: &Recurrent, x: &[Value]) -> Value {
    let (ragged, rest) = match x {
        [_, lengths, ..] if lengths.shape().len() == 1 => (Some(lengths), &x[2..]),
        _ => (None, &x[1..]),
    };
    let state = rest.first().map(|h| RecurrentState { h: h.clone(), c: rest.get(1).cloned() });
    let run = network.run(tape, &x[0], ragged, state.as_ref());
    let all: Vec<Value> = [Some(run.outputs), Some(run.state.h), run.state.c]
        .into_iter()
        .flatten()
        .map(|value| value.reshape(&[value.len()]))
        .collect();
    tape.concatenate(&all.iter().collect::<Vec<_>>(), 0)
}

/// A case by its name.
fn of_case(tape: &mut Tape, name: &str, x: &[Value]) -> Value {
    if let Some(network) = network(name) {
        return recurred(tape, &network, x);
    }
    let block = TransformerBlock::new(8, 2, 20);
    match name {
        "attention" => Attention::new(8, 2).forward(tape, &x[0]),
        "attention_causal" => Attention { causal: true, ..Attention::new(8, 4) }.forward(tape, &x[0]),
        "attention_padded" => Attention::new(12, 3).run(tape, &x[0], Some(&x[1])),
        "attention_causal_padded" => Attention { causal: true, ..Attention::new(8, 2) }.run(tape, &x[0], Some(&x[1])),
        "attention_across" => Attention::new(8, 2).across(tape, &x[0], &x[1], Some(&x[2])),
        "attention_without_bias" => Attention { bias: false, ..Attention::new(6, 1) }.forward(tape, &x[0]),
        "attention_wide" => Attention { causal: true, ..Attention::new(10, 2) }.forward(tape, &x[0]),
        "block" => block.forward(tape, &x[0]),
        "block_after" => TransformerBlock { norm_first: false, activation: Nonlinearity::Relu, ..block }.forward(tape, &x[0]),
        "block_padded" => TransformerBlock { activation: Nonlinearity::Relu, ..block }.run(tape, &x[0], Some(&x[1])),
        "low_rank" => LowRank { base: Linear::new(9, 5), rank: 3, alpha: 2.0 }.forward(tape, &x[0]),
        _ => panic!("no layer '{name}'"),
    }
}

fn recorded(case: &Json, lanes: usize) -> Taped {
    let name = case["name"].as_str().expect("a name");
    modules::recorded(case, lanes, |tape, x| {
        let output = of_case(tape, name, x);
        vec![weighted(&output, tape), output]
    })
}

#[test]
fn sequences_are_those_of_pytorch_in_double_precision() {
    let cases = golden_lines("sequences");
    assert!(cases.len() > 20);
    modules::are_those_of_pytorch(&cases, recorded);
}

#[test]
fn single_precision_is_as_near_as_pytorchs_own_and_lanes_have_the_same_bits() {
    modules::are_as_near_as_pytorchs_own(&golden_lines("sequences"), recorded);
}

#[test]
fn gradients_are_those_of_differences() {
    let mut checked = 0;
    for case in &golden_lines("sequences") {
        let name = case["name"].as_str().expect("a name");
        // The other cases take long, and the goldens have their gradients.
        if ["lstm_one_step", "rnn_ragged", "attention_causal", "block"].contains(&name) {
            check_gradients(name, &mut recorded(case, 1), BY_DIFFERENCES);
            checked += 1;
        }
    }
    assert_eq!(checked, 4, "cases with these names");
}

/// A sequence that goes on from the state of its first half is the whole one.
#[test]
fn a_carried_state_goes_on() {
    for cell in [Cell::Tanh, Cell::Relu, Cell::Lstm, Cell::Gru] {
        let network = Recurrent { layers: 2, ..Recurrent::new(cell, 3, 4) };
        let x = Input::Floats(vec![2, 6, 3], doubles(1, 36));
        let found = record(1, Tape::evaluation(), &[x], false, |tape, x| {
            let whole = network.run(tape, &x[0], None, None);
            let first = network.run(tape, &x[0].slice(1, 0..2), None, None);
            let second = network.run(tape, &x[0].slice(1, 2..6), None, Some(&first.state));
            vec![whole.outputs.slice(1, 2..6).contiguous(), second.outputs, whole.state.h, second.state.h]
        });
        let found = found.expect("a recording").run(&Cpu::<f64>::default(), 0, 1).swap_remove(0).outputs;
        // Products over two steps and over six add up in another order: some ulps of sums of terms below 1, through six steps.
        assert!(
            found[0].iter().zip(&found[1]).chain(found[2].iter().zip(&found[3])).all(|(a, b)| (a - b).abs() < 1e-14),
            "{cell:?}"
        );
    }
}

/// Inputs beyond the end of a sample have no effect, and outputs there are 0.
#[test]
fn a_sample_does_not_see_what_lies_beyond_its_end() {
    let network = Recurrent { layers: 2, both_directions: true, ..Recurrent::new(Cell::Gru, 3, 4) };
    let run = |beyond: f64| {
        let mut x = doubles(1, 2 * 5 * 3);
        x[2 * 3..5 * 3].fill(beyond);
        let inputs = [Input::Floats(vec![2, 5, 3], x), Input::Indices(vec![2], vec![2, 5])];
        let taped = record(1, Tape::training(), &inputs, true, |tape, x| {
            let run = network.run(tape, &x[0], Some(&x[1]), None);
            vec![weighted(&run.outputs, tape), run.outputs, run.state.h]
        });
        taped.expect("a recording").run(&Cpu::<f32>::default(), 0, 1).swap_remove(0)
    };
    let (one, other) = (run(1.0), run(-7.0));
    assert_eq!(one, other);
    assert!(one.outputs[1][2 * 8..5 * 8].iter().all(|&x| x == 0.0) && one.of_inputs[0][2 * 3..5 * 3].iter().all(|&x| x == 0.0));
    assert!(one.outputs[1][..2 * 8].iter().all(|&x| x != 0.0));
}

#[test]
fn dropout_lies_between_layers_alone_and_is_the_same_on_all_engines() {
    let x = Input::Floats(vec![8, 4, 3], doubles(1, 96));
    let of = |layers: usize, dropout: f64| {
        let network = Recurrent { layers, dropout, ..Recurrent::new(Cell::Lstm, 3, 16) };
        let taped = record(1, Tape::training(), std::slice::from_ref(&x), true, |tape, x| {
            let outputs = network.forward(tape, &x[0]);
            vec![weighted(&outputs, tape), outputs]
        });
        taped.expect("a recording")
    };
    let outputs = |taped: &Taped, step| taped.run(&Cpu::<f64>::default(), step, 1).swap_remove(0).outputs.swap_remove(1);
    assert_eq!(outputs(&of(1, 0.5), 1), outputs(&of(1, 0.0), 1));
    let two = of(2, 0.5);
    assert_ne!(outputs(&two, 1), outputs(&of(2, 0.0), 1));
    assert_ne!(outputs(&two, 1), outputs(&two, 2));
    let right = outputs(&two, 1);
    for engine in engines::all() {
        let found = two.run(&engine, 1, 1).swap_remove(0).outputs.swap_remove(1);
        // Outputs are below 1 and come through two layers of sums of 16 terms in single precision, with errors of 6e-8 each. A
        // different mask would change whole outputs.
        assert!(found.iter().zip(&right).all(|(a, b)| (a - b).abs() < 1e-5), "{}", engine.name);
    }
}

/// Weights in another order of gates are the same network, and their gradients lie in that order.
#[test]
fn gates_may_lie_in_the_order_of_keras_or_onnx() {
    // Where PyTorch's gates lie: i, f, g, o, and r, z, n.
    type Preset = fn(Cell, usize, usize) -> Recurrent;
    let cases: [(Preset, Cell, &[usize]); 5] = [
        (Recurrent::keras, Cell::Lstm, &[0, 1, 2, 3]),
        (Recurrent::onnx, Cell::Lstm, &[0, 2, 3, 1]),
        (Recurrent::keras, Cell::Gru, &[1, 0, 2]),
        (Recurrent::onnx, Cell::Gru, &[1, 0, 2]),
        (Recurrent::keras, Cell::Tanh, &[0]),
    ];
    let (inputs, hidden) = (3, 4);
    let names = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"];
    for (of, cell, places) in cases {
        let lens = [inputs, hidden, 1, 1].map(|width| places.len() * hidden * width);
        let values: Vec<Vec<f64>> = lens.iter().enumerate().map(|(seed, &len)| doubles(seed as u64, len)).collect();
        let run = |network: &Recurrent, values: &[Vec<f64>]| {
            let x = Input::Floats(vec![2, 5, inputs], doubles(9, 30));
            let mut taped = record(1, Tape::training(), &[x], true, |tape, x| {
                let outputs = network.forward(tape, &x[0]);
                vec![weighted(&outputs, tape), outputs]
            })
            .expect("a recording");
            names.iter().zip(values).for_each(|(name, values)| taped.set(name, values));
            taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0)
        };
        // From PyTorch's order to the other.
        let moved = |values: &[f64]| {
            let block = values.len() / places.len();
            let mut moved = vec![0.0; values.len()];
            for (gate, &place) in places.iter().enumerate() {
                moved[place * block..][..block].copy_from_slice(&values[gate * block..][..block]);
            }
            moved
        };
        let right = run(&Recurrent::new(cell, inputs, hidden), &values);
        let others: Vec<Vec<f64>> = values.iter().map(|values| moved(values)).collect();
        let found = run(&of(cell, inputs, hidden), &others);
        assert_eq!(found.outputs, right.outputs, "{cell:?}");
        for ((name, found), (_, right)) in found.grads.iter().zip(&right.grads) {
            assert_eq!(found, &moved(right), "{cell:?}: {name}");
        }
    }
}

/// The products of all inputs, and those of the gradients by weights, are made once, however many steps there are.
#[test]
fn a_step_is_one_kernel_and_its_gradient_another() {
    for cell in [Cell::Tanh, Cell::Relu, Cell::Lstm, Cell::Gru] {
        let kernels = |steps: usize| {
            let inputs = [Input::Floats(vec![2, steps, 3], doubles(1, 6 * steps)), Input::Indices(vec![2], vec![2, 1])];
            let taped = record(1, Tape::training(), &inputs, true, |tape, x| {
                let run = Recurrent::new(cell, 3, 4).run(tape, &x[0], Some(&x[1]), None);
                vec![weighted(&run.outputs, tape), run.state.h]
            });
            taped.expect("a recording").kernels()
        };
        let (four, five) = (kernels(4), kernels(5));
        assert_eq!(five - four, 2, "{cell:?}: one forward and one back for each further step");
    }
}

/// 16 adapters over one base: each lane has the bits of an adapter with a base of its own, and the base is in memory once.
#[test]
fn adapters_share_the_memory_of_their_base() {
    let (lanes, inputs, outputs) = (16, 40, 30);
    let adapter = LowRank { base: Linear::new(inputs, outputs), rank: 2, alpha: 4.0 };
    let (weight, bias, pixels) = (doubles(1, inputs * outputs), doubles(2, outputs), doubles(3, 5 * inputs));
    let narrow: Vec<[Vec<f64>; 2]> =
        (0..lanes).map(|lane| [doubles(10 + lane as u64, 2 * inputs), doubles(90 + lane as u64, 2 * outputs)]).collect();
    // Outputs and gradients of each lane, and the elements of all buffers together.
    let run = |engine: &engines::AnyEngine, lanes: &[[Vec<f64>; 2]], shared: bool| {
        let (mut layout, mut plan, mut tape) = (Layout::new(lanes.len()), Plan::default(), Tape::training());
        let x = layout.shared_floats("x", pixels.len());
        let given = tape.input(layout.whole(x), &[5, inputs]);
        let model: &dyn Model = if shared { &SharedBase(adapter.clone()) } else { &adapter };
        let y = model.forward(&mut tape, &given);
        let loss = y.square().sum(&[]);
        tape.backward(&loss);
        let (arena, base) = (tape.arena().expect("parameters"), tape.shared().expect("a base"));
        let [params, grads] = ["params", "grads"].map(|name| layout.arena(name, &arena));
        let of_base = layout.shared_floats("base", base.len());
        let out = layout.floats("y", y.len());
        let places = Places { shared: shared.then_some((&base, of_base)), ..Places::new(&arena, params, Some(grads)) };
        let wanted = [(&y, layout.whole(out))];
        tape.record(&mut layout, &mut plan, &places, &mut Slots::default(), &wanted).expect("a recording");
        let elements: usize =
            layout.buffers().iter().map(|buffer| buffer.len * if buffer.scope == Scope::Lane { lanes.len() } else { 1 }).sum();
        let mut program = engine.load(&Blueprint::of(&layout, &[plan])).expect("a program");
        let singles = |values: &[f64]| values.iter().map(|x| *x as f32).collect::<Vec<f32>>();
        program.write(x, 0, 0, &singles(&pixels)).expect("x");
        for (lane, [a, b]) in lanes.iter().enumerate() {
            for (name, values) in [("lora_A.weight", a), ("lora_B.weight", b), ("weight", &weight), ("bias", &bias)] {
                let (id, lane, arena) = match arena.tensor(name) {
                    Ok(_) => (params, lane, &arena),
                    Err(_) => (of_base, 0, &base),
                };
                let offset = arena.tensor(name).expect("a tensor").offset;
                program.write(id, lane, offset, &singles(values)).expect("a parameter");
            }
        }
        program.run(PlanId::FIRST, 1).expect("a run");
        let of_lane = |lane: usize, name: &str, grads: &[f32]| {
            let tensor = arena.tensor(name).unwrap_or_else(|error| panic!("{lane}: {error}"));
            grads[tensor.offset..][..tensor.len()].to_vec()
        };
        let results: Vec<[Vec<f32>; 3]> = (0..lanes.len())
            .map(|lane| {
                let (y, grads) = (program.read(out, lane).expect("y"), program.read(grads, lane).expect("gradients"));
                [y, of_lane(lane, "lora_A.weight", &grads), of_lane(lane, "lora_B.weight", &grads)]
            })
            .collect();
        (results, elements)
    };
    for engine in [engines::cpu(), engines::gpu()] {
        let (found, elements) = run(&engine, &narrow, true);
        let (own, of_own) = run(&engine, &narrow, false);
        assert_eq!(found, own, "{}", engine.name);
        let (alone, _) = run(&engine, &narrow[7..8], true);
        assert_eq!(found[7], alone[0], "{}", engine.name);
        // Parameters and gradients of bases of their own; one base instead.
        let base = 1_216 + 64;
        assert_eq!(elements + (2 * lanes - 1) * base, of_own, "{}", engine.name);
    }
}

/// A trainer's lanes have one base, which may be another model's, and which no step changes.
#[test]
fn a_trainer_keeps_its_shared_base() {
    let model = SharedBase(LowRank { base: Linear::new(3, 2), rank: 1, alpha: 1.0 });
    let data = Dataset::new((0..30).map(|i| (i % 7) as f32).collect(), 3, (0..10).map(|i| i % 2).collect()).expect("data");
    let recipe = Recipe::new(AdamW { lr: 0.1, ..Default::default() });
    let trainer = Trainer::builder(&model, recipe).train(&data).batch(5).seeds(&[1, 2, 3]).build(&Cpu::<f64>::default());
    let mut trainer = trainer.expect("a trainer");
    assert!(trainer.shared("weight").expect("a base").iter().any(|x| *x != 0.0));
    let weight = [0.5, -1.0, 2.0, 0.25, 1.5, -0.75];
    trainer.set_shared("weight", &weight).expect("a base");
    let before = trainer.whole_epoch().expect("an epoch");
    let after = trainer.whole_epoch().expect("an epoch");
    assert!(before.iter().zip(&after).all(|(before, after)| before.loss != after.loss));
    assert_eq!(trainer.shared("weight").expect("a base"), weight);
    assert_eq!(
        trainer.set_shared("weight", &[1.0]).unwrap_err().to_string(),
        "shared parameter 'weight': 1 found, 6 elements expected"
    );
    assert!(trainer.shared("lora_A.weight").is_err());
}

#[test]
fn positions_are_added() {
    let x = Input::Floats(vec![1, 3, 4], vec![1.0; 12]);
    let of = |positions: Positions| {
        let taped =
            record(1, Tape::evaluation(), std::slice::from_ref(&x), false, |tape, x| vec![positions.forward(tape, &x[0])]);
        taped.map(|taped| taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0).outputs.swap_remove(0))
    };
    let found = of(Positions::Sinusoidal).expect("positions");
    for (at, found) in found.iter().enumerate() {
        let (place, i) = ((at / 4) as f64, at % 4);
        let angle = place / 10_000f64.powf((i / 2 * 2) as f64 / 4.0);
        let right = 1.0 + if i % 2 == 0 { angle.sin() } else { angle.cos() };
        // Two ulps of numbers below 2, since the angle and the sum are rounded.
        assert!((found - right).abs() < 1e-15, "{at}: {found}, not {right}");
    }
    assert!(of(Positions::Learned { places: 5 }).is_ok_and(|found| found.iter().all(|x| *x != 1.0)));
    let error = of(Positions::Learned { places: 2 }).unwrap_err().to_string();
    assert_eq!(error, "places of learned positions: 3 found, at most 2 expected");
}

#[test]
fn mistakes_name_layer_and_shapes() {
    let floats = |shape: &[usize]| Input::Floats(shape.to_vec(), vec![0.5; shape.iter().product()]);
    let refused = |inputs: &[Input], message: &str, model: &dyn Fn(&mut Tape, &[Value]) -> Value| {
        let error = record(1, Tape::training(), inputs, false, |tape, x| vec![tape.named("top", |tape| model(tape, x))]);
        assert_eq!(error.map(drop).unwrap_err().to_string(), message);
    };
    let lstm = Recurrent::new(Cell::Lstm, 3, 4);
    refused(
        &[floats(&[2, 5, 4])],
        "top: input of a recurrent layer: [2, 5, 4] found, [2, at least 1, 3] expected",
        &|tape, x| lstm.forward(tape, &x[0]),
    );
    refused(&[floats(&[2, 3])], "top: input of a recurrent layer: [2, 3] found, samples × steps × 3 expected", &|tape, x| {
        lstm.forward(tape, &x[0])
    });
    let lengths = Input::Indices(vec![3], vec![1; 3]);
    refused(&[floats(&[2, 5, 3]), lengths], "top: lengths of a recurrent layer: [3] found, [2] expected", &|tape, x| {
        lstm.run(tape, &x[0], Some(&x[1]), None).outputs
    });
    let carried = [floats(&[2, 5, 3]), floats(&[1, 3, 4])];
    refused(&carried, "top: state of a recurrent layer: [1, 3, 4] found, [1, 2, 4] expected", &|tape, x| {
        let state = RecurrentState { h: x[1].clone(), c: Some(x[1].clone()) };
        lstm.run(tape, &x[0], None, Some(&state)).outputs
    });
    refused(&carried, "top: state of a recurrent layer: h alone found, h and c expected", &|tape, x| {
        lstm.run(tape, &x[0], None, Some(&RecurrentState { h: x[1].clone(), c: None })).outputs
    });
    refused(&[floats(&[2, 5, 6])], "top: width of attention: 6 found, a multiple of 4 heads expected", &|tape, x| {
        Attention::new(6, 4).forward(tape, &x[0])
    });
    let padded = [floats(&[2, 5, 8]), floats(&[2, 4])];
    refused(&padded, "top: padding of attention: [2, 4] found, [2, 5] expected", &|tape, x| {
        Attention::new(8, 4).run(tape, &x[0], Some(&x[1]))
    });
    refused(
        &[floats(&[2, 5, 8])],
        "top: input of a transformer block: [2, 5, 8] found, [samples, places, 4] expected",
        &|tape, x| TransformerBlock::new(4, 2, 8).forward(tape, &x[0]),
    );
    let error = Recurrent::check_lengths(&[3, 0, 5], 5).unwrap_err().to_string();
    assert_eq!(error, "steps of sample 1 = 0 is out of range: from 1 to 5");
    assert!(Recurrent::check_lengths(&[3, 5], 5).is_ok() && Recurrent::check_lengths(&[6], 5).is_err());
}
