//! Convolutions, pools and normalisations of images: values, gradients and running statistics are PyTorch's, and mistakes are
//! found while recording.

use crate::common::engines;
use crate::common::golden_lines;
use crate::common::modules::{self, are_as_near_as_pytorchs_own, are_those_of_pytorch, weighted};
use crate::common::numbers::doubles;
use crate::common::taped::{BY_DIFFERENCES, Input, Results, Taped, check_gradients, record};
use serde_json::Value as Json;
use thalweg::cpu::Cpu;
use thalweg::nn::{
    AdaptiveAvgPool1d, AdaptiveAvgPool2d, AdaptiveMaxPool1d, AdaptiveMaxPool2d, AvgPool1d, AvgPool2d, BatchNorm1d, BatchNorm2d,
    BilinearUpsample, ChannelDropout, Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d, Flatten, GroupNorm, Init, InstanceNorm,
    Linear, MaxPool1d, MaxPool2d, Model, Nonlinearity, Padding, Sequential, Tape, Upsample,
};
use thalweg::op::{Conv, ConvPart, ConvSizes, Expr};
use thalweg::plan::{Blueprint, Engine, Layout, Operation, Plan, PlanId, Program, View};

/// A layer of the goldens by name.
fn layer(name: &str) -> Box<dyn Model> {
    match name.trim_end_matches("_eval") {
        "conv2d_plain" => Box::new(Conv2d::new(3, 5, [3, 2])),
        "conv2d_strided" => Box::new(Conv2d { stride: [2, 3], ..Conv2d::new(2, 4, [3, 3]).padded([1, 2]) }),
        "conv2d_dilated" => Box::new(Conv2d { dilation: [2, 3], bias: false, ..Conv2d::new(2, 3, [3, 2]).padded([2, 1]) }),
        "conv2d_groups" => Box::new(Conv2d { groups: 2, ..Conv2d::new(4, 6, [3, 3]).padded([1, 1]) }),
        "conv2d_depthwise" => Box::new(Conv2d { groups: 5, stride: [2, 2], ..Conv2d::new(5, 5, [3, 3]).padded([1, 1]) }),
        "conv2d_same" => Box::new(Conv2d { padding: Padding::Same, ..Conv2d::new(2, 3, [4, 3]) }),
        "conv2d_same_dilated" => Box::new(Conv2d { padding: Padding::Same, dilation: [3, 2], ..Conv2d::new(2, 3, [2, 3]) }),
        "conv2d_point" => Box::new(Conv2d::new(65, 3, [1, 1])),
        "conv2d_whole" => Box::new(Conv2d::new(2, 65, [5, 3])),
        "conv2d_many" => Box::new(Conv2d::new(1, 2, [3, 3]).padded([1, 1])),
        "conv2d_wide" => Box::new(Conv2d::new(33, 17, [3, 3]).padded([1, 1])),
        "conv1d_plain" => Box::new(Conv1d::new(3, 4, [3])),
        "conv1d_all" => Box::new(Conv1d { stride: [2], dilation: [2], groups: 2, ..Conv1d::new(4, 6, [3]).padded([3]) }),
        "conv1d_same" => Box::new(Conv1d { padding: Padding::Same, ..Conv1d::new(2, 2, [4]) }),
        "transposed2d_plain" => Box::new(ConvTranspose2d::new(3, 2, [3, 2])),
        "transposed2d_all" => Box::new(ConvTranspose2d {
            stride: [2, 3],
            padding: [1, 2],
            output_padding: [1, 2],
            dilation: [2, 1],
            groups: 2,
            ..ConvTranspose2d::new(4, 6, [3, 4])
        }),
        "transposed2d_double" => {
            Box::new(ConvTranspose2d { stride: [2, 2], bias: false, ..ConvTranspose2d::new(2, 3, [2, 2]) })
        }
        "transposed1d_all" => {
            Box::new(ConvTranspose1d { stride: [2], padding: [1], output_padding: [1], ..ConvTranspose1d::new(3, 2, [3]) })
        }
        "upsample" => Box::new(Upsample { scale: [2, 3] }),
        "max_plain" => Box::new(MaxPool2d::new([2, 2])),
        "max_all" => Box::new(MaxPool2d { stride: [2, 1], padding: [1, 1], dilation: [2, 3], ..MaxPool2d::new([3, 2]) }),
        "max_ceil" => Box::new(MaxPool2d { stride: [2, 2], padding: [1, 1], ceil_mode: true, ..MaxPool2d::new([3, 3]) }),
        "max_ceil_outside" => {
            Box::new(MaxPool2d { stride: [3, 3], padding: [1, 1], ceil_mode: true, ..MaxPool2d::new([2, 2]) })
        }
        "max_overlapping" => Box::new(MaxPool2d { stride: [1, 1], ..MaxPool2d::new([3, 3]) }),
        "max1d_all" => Box::new(MaxPool1d { stride: [2], padding: [1], dilation: [2], ceil_mode: true, ..MaxPool1d::new([3]) }),
        "average_plain" => Box::new(AvgPool2d::new([2, 2])),
        "average_padded" => Box::new(AvgPool2d { stride: [2, 2], padding: [1, 1], ..AvgPool2d::new([3, 3]) }),
        "average_inside" => {
            Box::new(AvgPool2d { stride: [2, 2], padding: [1, 1], count_include_pad: false, ..AvgPool2d::new([3, 3]) })
        }
        "average_ceil" => Box::new(AvgPool2d { stride: [3, 2], padding: [1, 1], ceil_mode: true, ..AvgPool2d::new([2, 3]) }),
        "average_ceil_inside" => Box::new(AvgPool2d {
            stride: [2, 2],
            padding: [1, 1],
            ceil_mode: true,
            count_include_pad: false,
            ..AvgPool2d::new([3, 2])
        }),
        "average1d_all" => Box::new(AvgPool1d { stride: [2], padding: [1], ceil_mode: true, ..AvgPool1d::new([3]) }),
        "adaptive_average" => Box::new(AdaptiveAvgPool2d { out: [3, 2] }),
        "adaptive_average_more" => Box::new(AdaptiveAvgPool2d { out: [5, 4] }),
        "adaptive_max" => Box::new(AdaptiveMaxPool2d { out: [3, 2] }),
        "global_average" => Box::new(AdaptiveAvgPool2d { out: [1, 1] }),
        "batch_norm2d" => Box::new(BatchNorm2d::new(3)),
        "batch_norm2d_options" => {
            Box::new(BatchNorm2d(BatchNorm1d { eps: 1e-2, momentum: 0.4, affine: false, ..BatchNorm1d::new(2) }))
        }
        "group_norm" => Box::new(GroupNorm::new(2, 6)),
        "group_norm_of_all" => Box::new(GroupNorm { eps: 1e-2, affine: false, ..GroupNorm::new(1, 4) }),
        "group_norm_of_rows" => Box::new(GroupNorm::new(1, 6)),
        "instance_norm" => Box::new(InstanceNorm::new(3)),
        "instance_norm_affine" => Box::new(InstanceNorm { affine: true, eps: 1e-3, ..InstanceNorm::new(3) }),
        "instance_norm1d" => Box::new(InstanceNorm::new(4)),
        "network" => Box::new(
            Sequential::new()
                .then(Conv2d::new(1, 4, [3, 3]).padded([1, 1]))
                .then(Nonlinearity::Relu)
                .then(MaxPool2d::new([2, 2]))
                .then(Conv2d::new(4, 6, [3, 3]).padded([1, 1]))
                .then(BatchNorm2d::new(6))
                .then(Nonlinearity::Silu)
                .then(AvgPool2d::new([2, 2]))
                .then(Flatten)
                .then(Linear::new(24, 3)),
        ),
        other => panic!("no layer '{other}'"),
    }
}

fn recorded(case: &Json, lanes: usize) -> Taped {
    let layer = layer(case["name"].as_str().expect("a name"));
    modules::recorded(case, lanes, |tape, x| modules::outputs(&*layer, tape, x))
}

#[test]
fn layers_of_images_are_those_of_pytorch_in_double_precision() {
    let cases = golden_lines("images");
    assert!(cases.len() > 40);
    are_those_of_pytorch(&cases, recorded);
}

#[test]
fn single_precision_is_as_near_as_pytorchs_own_and_lanes_have_the_same_bits() {
    are_as_near_as_pytorchs_own(&golden_lines("images"), recorded);
}

#[test]
fn gradients_are_those_of_differences() {
    let mut checked = 0;
    for case in &golden_lines("images") {
        let name = case["name"].as_str().expect("a name");
        let numbers =
            |lists: &Json| lists.as_object().map_or(0, |lists| lists.values().map(|list| modules::listed(list).len()).sum());
        let count: usize = numbers(&case["params"]) + modules::listed(&case["of_inputs"][0]).len();
        // Large ones take long; largest elements have kinks.
        if count <= 150 && !name.contains("max") {
            check_gradients(name, &mut recorded(case, 1), BY_DIFFERENCES);
            checked += 1;
        }
    }
    assert!(checked > 12, "{checked} layers");
}

/// The first of several largest elements gets the gradient, and NaN wins.
#[test]
fn largest_elements_are_the_first_ones_and_nan_wins() {
    let nan = f64::NAN;
    let x = Input::Floats(vec![1, 1, 2, 6], vec![1.0, 3.0, nan, 0.0, -1.0, f64::NEG_INFINITY, 3.0, 3.0, 5.0, 1.0, -1.0, 0.0]);
    let taped = record(1, Tape::training(), &[x], true, |tape, x| {
        let y = MaxPool2d::new([2, 2]).forward(tape, &x[0]);
        vec![y.sum(&[]), y]
    })
    .expect("a recording");
    for engine in engines::all() {
        let found = taped.run(&engine, 0, 1).swap_remove(0);
        let [a, b, c] = found.outputs[1][..] else { panic!("three windows") };
        assert!(a == 3.0 && b.is_nan() && c == 0.0, "{}: {:?}", engine.name, found.outputs[1]);
        let right = [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        assert_eq!(found.of_inputs[0], right, "{}", engine.name);
    }
}

#[test]
fn dropout_by_channel_drops_whole_channels() {
    let (samples, channels, area) = (40, 25, 6);
    let x = Input::Floats(vec![samples, channels, 2, 3], vec![1.0; samples * channels * area]);
    let taped = record(1, Tape::training(), &[x], true, |tape, x| {
        let y = ChannelDropout { p: 0.2 }.forward(tape, &x[0]);
        vec![y.sum(&[]), y]
    })
    .expect("a recording");
    let right = taped.run(&Cpu::<f64>::default(), 5, 1).swap_remove(0);
    for engine in engines::all() {
        let found = taped.run(&engine, 5, 1).swap_remove(0);
        assert_eq!(found.outputs[1], right.outputs[1], "{}", engine.name);
        assert_eq!(found.of_inputs[0], found.outputs[1], "{}", engine.name);
    }
    let planes = right.outputs[1].chunks(area);
    assert!(planes.clone().all(|plane| plane.iter().all(|x| *x == plane[0] && (*x == 0.0 || *x == 1.25))));
    let dropped = planes.filter(|plane| plane[0] == 0.0).count() as f64 / (samples * channels) as f64;
    // Five standard deviations.
    assert!((dropped - 0.2).abs() < 5.0 * (0.16 / (samples * channels) as f64).sqrt(), "{dropped}");
}

/// An adaptive pool along one axis is one of images with a single line.
#[test]
fn adaptive_pools_of_one_axis_are_those_of_two() {
    let run = |shape: &[usize], model: &dyn Model| {
        let x = Input::Floats(shape.to_vec(), doubles(1, 14));
        let taped = record(1, Tape::training(), &[x], true, |tape, x| {
            let y = model.forward(tape, &x[0]);
            vec![y.sum(&[]), y]
        });
        let found = taped.expect("a recording").run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
        (found.outputs[1].clone(), found.of_inputs[0].clone())
    };
    let (line, image) = ([1, 2, 7], [1, 2, 1, 7]);
    let average = run(&line, &AdaptiveAvgPool1d { out: [3] });
    assert_eq!(average, run(&image, &AdaptiveAvgPool2d { out: [1, 3] }));
    let largest = run(&line, &AdaptiveMaxPool1d { out: [3] });
    assert_eq!(largest, run(&image, &AdaptiveMaxPool2d { out: [1, 3] }));
    assert!(average.0.len() == 6 && average.0 != largest.0 && average.1.iter().all(|slope| *slope > 0.0));
}

/// The largest of what rises with a value is made of the largest value, which takes less memory. Values and gradients are those
/// of the order in which it was said; what falls keeps that order.
#[test]
fn a_rising_function_is_computed_once_per_window() {
    let (shape, pixels, bias) = ([2, 3, 6, 5], doubles(5, 180), doubles(6, 3));
    type Function = fn(&[Expr]) -> Expr;
    let functions: [(&str, bool, Function); 6] = [
        ("a ReLU of a sum", true, |of| (of[0].clone() + of[1].clone()).relu()),
        ("bounds", true, |of| (2.0 * of[0].clone() - of[1].clone()).max(-0.5).min(0.5) / 3.0),
        ("what falls", false, |of| of[1].clone() - of[0].clone()),
        ("a factor of any sign", false, |of| of[0].clone() * of[1].clone()),
        ("a square", false, |of| of[0].clone().square() + of[1].clone()),
        ("a ReLU of what falls", false, |of| (of[1].clone() - of[0].clone()).relu()),
    ];
    for (name, rises, f) in functions {
        // Inputs are not in the program's own memory, so there the order stays.
        let run = |own: bool| {
            let inputs = [Input::Floats(shape.to_vec(), pixels.clone()), Input::Floats(vec![3], bias.clone())];
            let mut taped = record(1, Tape::training(), &inputs, true, |tape, x| {
                let image = if own { tape.parameter("image", &shape, Init::Zeros) } else { x[0].clone() };
                let y = tape.map(&[&image, &x[1].reshape(&[3, 1, 1])], f);
                let y = MaxPool2d { padding: [1, 0], ..MaxPool2d::new([2, 3]) }.forward(tape, &y);
                vec![weighted(&y, tape), y]
            })
            .expect("a recording");
            if own {
                taped.set("image", &pixels);
            }
            let unshared = taped.recorded.unshared;
            let mut found = taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
            let of_image = if own { found.grads.swap_remove(0).1 } else { found.of_inputs.swap_remove(0) };
            (found.outputs, of_image, found.of_inputs.pop().unwrap_or_default(), unshared)
        };
        let (moved, said) = (run(true), run(false));
        assert_eq!(moved.0, said.0, "{name}: values");
        assert_eq!(moved.1, said.1, "{name}: the gradient by the image");
        let near = moved.2.iter().zip(&said.2).all(|(a, b)| (a - b).abs() <= 1e-14);
        assert!(near && moved.2.len() == 3, "{name}: the gradient by the other");
        assert_eq!(moved.3 < said.3, rises, "{name}: {} and {} elements", moved.3, said.3);
    }
}

/// Windows of adaptive pools are counted as they are: software drivers end after 65,535 trips, which this many elements just do
/// not reach.
#[test]
fn the_mean_of_a_large_image_is_within_a_software_drivers_trips() {
    let pixels = doubles(1, 255 * 255);
    let x = Input::Floats(vec![1, 1, 255, 255], pixels.clone());
    let taped = record(1, Tape::evaluation(), &[x], false, |tape, x| {
        vec![AdaptiveAvgPool2d { out: [1, 1] }.forward(tape, &x[0]), AdaptiveMaxPool2d { out: [1, 1] }.forward(tape, &x[0])]
    })
    .expect("a recording");
    let right = [pixels.iter().sum::<f64>() / 65_025.0, pixels.iter().copied().fold(f64::NEG_INFINITY, f64::max)];
    for engine in engines::all() {
        let found = taped.run(&engine, 0, 1).swap_remove(0).outputs;
        // One rounding per addition, of numbers up to 1 here.
        let bound = f64::from(f32::EPSILON) * 65_025.0;
        assert!((found[0][0] - right[0]).abs() <= bound, "{}: {}, not {}", engine.name, found[0][0], right[0]);
        assert_eq!(found[1][0], f64::from(right[1] as f32), "{}", engine.name);
    }
}

/// 100,352 positions, of which a software driver's thread could not sum all.
#[test]
fn a_convolution_over_many_positions_is_right_on_all_engines() {
    let positive = |seed, len| doubles(seed, len).iter().map(|x: &f64| x.abs() + 0.1).collect::<Vec<f64>>();
    let x = Input::Floats(vec![128, 1, 28, 28], positive(1, 128 * 784));
    let mut taped = record(1, Tape::training(), &[x], true, |tape, x| {
        let y = Conv2d::new(1, 2, [3, 3]).padded([1, 1]).forward(tape, &x[0]);
        vec![y.square().sum(&[]), y]
    })
    .expect("a recording");
    taped.set("weight", &positive(2, 18));
    taped.set("bias", &[0.1, 0.2]);
    let right = taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
    for engine in [engines::cpu(), engines::gpu()] {
        let found = taped.run(&engine, 0, 1).swap_remove(0);
        // All terms are positive: a rounding for each of a slice's positions, of the slices, and of what the terms are made of.
        let bound = f64::from(f32::EPSILON) * (256.0 + 512.0 + 16.0);
        for ((name, found), (_, right)) in found.grads.iter().zip(&right.grads) {
            let near = found.iter().zip(right).all(|(found, right)| (found - right).abs() <= bound * right);
            assert!(near && right.iter().all(|x| *x > 1e4), "{}: {name}, {found:?}, not {right:?}", engine.name);
        }
        let near =
            found.outputs[1].iter().zip(&right.outputs[1]).all(|(a, b)| (a - b).abs() <= 16.0 * f64::from(f32::EPSILON) * b);
        assert!(near, "{}", engine.name);
    }
}

/// The sums of slices of a large weight's gradient lie in scratch memory a few at a time; each adds to those before.
#[test]
fn sums_of_a_large_weight_take_little_memory() {
    let conv = |batch: usize, channels: usize, image: [usize; 2], part| {
        let sizes = ConvSizes {
            batch,
            groups: 1,
            inputs: channels,
            outputs: channels,
            image,
            out: image,
            kernel: [1, 1],
            stride: [1, 1],
            padding: [0, 0],
            dilation: [1, 1],
        };
        (sizes, part)
    };
    let nowhere = View { buffer: Layout::new(1).floats("x", 1), offset: 0, len: 1 };
    let (sizes, part) = conv(256, 1_536, [28, 28], ConvPart::Weight);
    let of = Conv::new(part, sizes, [nowhere; 2], nowhere);
    assert_eq!(of.scratch_len(), 4 * 1_536 * 1_536);
    assert_eq!(of.dispatches().len(), 2 * 52_usize.div_ceil(4));

    // 18 slices of an image, of which 16 lie in scratch memory together; their numbers are exact.
    let (sizes, part) = conv(18, 512, [33, 63], ConvPart::Weight);
    let mut layout = Layout::new(1);
    let [x, w, y] = sizes.lens().map(|len| layout.floats("of", len));
    let unplaced = Conv::new(part, sizes, [layout.whole(x), layout.whole(y)], layout.whole(w));
    let scratch = layout.floats("scratch", unplaced.scratch_len());
    assert_eq!(unplaced.scratch_len(), 16 * 512 * 512);
    let mut plan = Plan::default();
    plan.operate(unplaced.scratch(layout.whole(scratch)));
    let mut program = Cpu::<f32>::default().load(&Blueprint::of(&layout, &[plan])).expect("a program");
    let [of_x, _, of_y] = sizes.lens();
    program.write(x, 0, 0, &vec![1.0; of_x]).expect("x");
    let per_image: Vec<f32> = (0..of_y).map(|at| (at / (512 * 2_079)) as f32).collect();
    program.write(y, 0, 0, &per_image).expect("y");
    program.write(w, 0, 0, &vec![f32::NAN; 512 * 512]).expect("w");
    program.run(PlanId::FIRST, 1).expect("a run");
    let right = (0..18).sum::<usize>() as f32 * 2_079.0;
    assert!(program.read(w, 0).expect("w").iter().all(|&sum| sum == right));
}

/// Every element by its formula: the two nearest lines and columns, by their distances. Its gradient is that of differences.
#[test]
fn elements_in_between_are_weighed_by_their_distances() {
    for (lines, columns, scale) in [(3, 4, [2, 3]), (1, 5, [4, 1]), (2, 1, [1, 2]), (4, 3, [3, 5])] {
        let pixels = doubles(7, 2 * lines * columns);
        let x = Input::Floats(vec![1, 2, lines, columns], pixels.clone());
        let mut taped = record(1, Tape::training(), &[x], true, |tape, x| {
            let y = BilinearUpsample { scale }.forward(tape, &x[0]);
            vec![weighted(&y, tape), y]
        })
        .expect("a recording");
        let oracle = taped.run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
        let found = &oracle.outputs[1];
        let near = |at: usize, scale: usize, len: usize| {
            let place = ((at as f64 + 0.5) / scale as f64 - 0.5).clamp(0.0, (len - 1) as f64);
            let low = place.floor() as usize;
            [(low, 1.0 - place.fract()), ((low + 1).min(len - 1), place.fract())]
        };
        let [tall, wide] = [lines * scale[0], columns * scale[1]];
        assert_eq!(found.len(), 2 * tall * wide);
        for (at, found) in found.iter().enumerate() {
            let (plane, line, column) = (at / (tall * wide), at / wide % tall, at % wide);
            let of_lines = near(line, scale[0], lines);
            let of_columns = near(column, scale[1], columns);
            let right: f64 = of_lines
                .iter()
                .flat_map(|(l, a)| of_columns.iter().map(move |(c, b)| (l, c, a * b)))
                .map(|(l, c, weight)| weight * pixels[(plane * lines + l) * columns + c])
                .sum();
            assert!((found - right).abs() < 1e-14, "{lines} × {columns} by {scale:?} at {at}: {found}, not {right}");
        }
        check_gradients("bilinear", &mut taped, 1e-6);
        for engine in [engines::cpu(), engines::gpu()] {
            let found = taped.run(&engine, 0, 1).swap_remove(0);
            for (found, right) in [(&found.outputs[1], &oracle.outputs[1]), (&found.of_inputs[0], &oracle.of_inputs[0])] {
                // Four weights of some roundings each, and a gradient's sum over up to 2 · 5 × 2 · 3 elements.
                let bound = 64.0 * f64::from(f32::EPSILON) * modules::largest(right);
                let near = found.iter().zip(right).all(|(found, right)| (found - right).abs() <= bound);
                assert!(near && found.len() == right.len(), "{}, by {scale:?}: {found:?}, not {right:?}", engine.name);
            }
        }
    }
}

/// PyTorch's start values: uniform between ±1/√(number of weights in the sum of an output); for a transposed convolution,
/// counted by its outputs.
#[test]
fn kernels_start_as_pytorchs() {
    let largest = |model: &dyn Model, inputs: usize, parameter: usize| {
        let mut tape = Tape::training();
        let x = tape.constant(&[1, inputs, 9, 9], 0.0);
        model.forward(&mut tape, &x);
        let of = &tape.parameters()[parameter];
        let mut values = vec![0.0; of.len()];
        of.init.fill(&of.name, &of.shape, [1, 2], &mut values).expect("values");
        modules::largest(&values)
    };
    let grouped = Conv2d { groups: 4, ..Conv2d::new(8, 400, [3, 5]) };
    let transposed = ConvTranspose2d { groups: 4, ..ConvTranspose2d::new(400, 8, [3, 5]) };
    let bound = 1.0 / (2.0 * 15.0f64).sqrt();
    for (found, least) in [
        (largest(&grouped, 8, 0), 0.99),
        (largest(&grouped, 8, 1), 0.9),
        (largest(&transposed, 400, 0), 0.99),
        (largest(&transposed, 400, 1), 0.3),
    ] {
        assert!(found <= bound && found >= least * bound, "{found}, not {bound}");
    }
}

/// An image's output does not depend on the other images of its batch, nor on their number.
#[test]
fn an_image_has_the_same_bits_in_any_batch() {
    let model = Sequential::new()
        .then(Conv2d::new(2, 9, [3, 3]).padded([1, 1]))
        .then(MaxPool2d::new([2, 2]))
        .then(Conv2d { stride: [2, 1], ..Conv2d::new(9, 5, [2, 3]) });
    let area = 2 * 9 * 7;
    let pixels = doubles(3, 129 * area);
    for engine in [engines::cpu(), engines::gpu()] {
        let of = |batch: usize| {
            let x = Input::Floats(vec![batch, 2, 9, 7], pixels[(129 - batch) * area..].to_vec());
            let taped = record(1, Tape::evaluation(), &[x], false, |tape, x| vec![model.forward(tape, &x[0])]);
            taped.expect("a recording").run(&engine, 0, 1).swap_remove(0).outputs.swap_remove(0)
        };
        let many = of(129);
        for batch in [1, 2, 64] {
            let few = of(batch);
            assert_eq!(few, many[many.len() - few.len()..], "{}: {batch}", engine.name);
        }
    }
}

#[test]
fn mistakes_name_layer_and_shapes() {
    let refused = |shape: &[usize], model: &dyn Model, message: &str| {
        let inputs = [Input::Floats(shape.to_vec(), vec![0.5; shape.iter().product()])];
        let error = record(1, Tape::training(), &inputs, false, |tape, x| vec![tape.layer("conv1", model, &x[0])]);
        assert_eq!(error.map(drop).unwrap_err().to_string(), message);
    };
    let image = &[2, 3, 4, 5];
    refused(
        image,
        &Conv2d::new(3, 2, [5, 7]),
        "conv1: kernel of a convolution: [5, 7] (kernel [5, 7], dilation [1, 1]) found, at most the padded image of [4, 5] (image [4, 5], \
         padding [0, 0]) expected",
    );
    let holes = Conv2d { dilation: [3, 1], ..Conv2d::new(3, 2, [3, 3]).padded([1, 0]) };
    refused(
        image,
        &holes,
        "conv1: kernel of a convolution: [7, 3] (kernel [3, 3], dilation [3, 1]) found, at most the padded image of [6, 5] (image [4, 5], \
         padding [1, 0]) expected",
    );
    refused(
        image,
        &Conv2d::new(4, 2, [3, 3]),
        "conv1: input of a convolution: [2, 3, 4, 5] found, [samples, 4, lines, columns] expected",
    );
    refused(&[2, 3], &Conv1d::new(3, 2, [3]), "conv1: input of a convolution: [2, 3] found, [samples, 3, length] expected");
    let message = "conv1: channels of a convolution: 3 inputs and 4 outputs found, multiples of 2 groups expected";
    refused(image, &Conv2d { groups: 2, ..Conv2d::new(3, 4, [3, 3]) }, message);
    let message = "conv1: channels of a convolution: 3 inputs and 4 outputs found, multiples of 0 groups expected";
    refused(image, &Conv2d { groups: 0, ..Conv2d::new(3, 4, [3, 3]) }, message);
    let axes = "at least 1 along each axis of an image of [4, 5] expected";
    let message = format!("conv1: stride of a convolution: [0, 1] found, {axes}");
    refused(image, &Conv2d { stride: [0, 1], ..Conv2d::new(3, 4, [3, 3]) }, &message);
    refused(image, &Conv2d::new(3, 4, [0, 3]), &format!("conv1: kernel of a convolution: [0, 3] found, {axes}"));
    let message = format!("conv1: stride of a pool: [1, 0] found, {axes}");
    refused(image, &MaxPool2d { stride: [1, 0], ..MaxPool2d::new([2, 2]) }, &message);
    refused(
        image,
        &Conv2d { padding: Padding::Same, stride: [2, 1], ..Conv2d::new(3, 4, [3, 3]) },
        "conv1: stride of a convolution that keeps sizes: [2, 1] for an image of [4, 5] found, 1 expected",
    );
    refused(
        image,
        &ConvTranspose2d { padding: [3, 0], ..ConvTranspose2d::new(3, 2, [3, 3]) },
        "conv1: output of a transposed convolution: padding [3, 0] for an image of [4, 5] and a kernel of [3, 3] found, at least one \
         element along each axis expected",
    );
    refused(
        image,
        &ConvTranspose2d { output_padding: [1, 0], ..ConvTranspose2d::new(3, 2, [3, 3]) },
        "conv1: output_padding of a transposed convolution: [1, 0] found, below the stride [1, 1] or the dilation [1, 1] expected",
    );
    refused(
        image,
        &MaxPool2d::new([5, 2]),
        "conv1: kernel of a pool: [5, 2] (dilation [1, 1]) found, at most the padded image of [4, 5] (padding [0, 0]) expected",
    );
    refused(
        image,
        &AvgPool2d { padding: [2, 0], ..AvgPool2d::new([3, 3]) },
        "conv1: padding of a pool: [2, 0] found, at most half of the kernel [3, 3] (dilation [1, 1]) expected",
    );
    // Both elements of the only window lie outside the image.
    let beside = |dilation: usize, padding: usize| MaxPool2d {
        stride: [1, 1],
        padding: [padding, 0],
        dilation: [dilation, 1],
        ..MaxPool2d::new([2, 1])
    };
    let expected = "such that each window meets the image of [4, 5] expected";
    refused(image, &beside(9, 3), &format!("conv1: dilation of a pool: 9 (kernel 2, padding 3) found, {expected}"));
    refused(image, &beside(5, 1), &format!("conv1: dilation of a pool: 5 (kernel 2, padding 1) found, {expected}"));
    let inputs = [Input::Floats(image.to_vec(), vec![0.5; 120])];
    let met = record(1, Tape::training(), &inputs, false, |tape, x| vec![beside(4, 1).forward(tape, &x[0])]);
    let met = met.expect("each window meets the image").run(&Cpu::<f64>::default(), 0, 1).swap_remove(0);
    assert_eq!(met.outputs[0], [0.5; 60]);
    let message = format!("conv1: output of an adaptive pool: [2, 0] found, {axes}");
    refused(image, &AdaptiveAvgPool2d { out: [2, 0] }, &message);
    refused(&[2, 3], &MaxPool2d::new([2, 2]), "conv1: input of a pool: [2, 3] found, [samples, 3, lines, columns] expected");
    refused(
        &[1, 3, 1, 1],
        &BatchNorm2d::new(3),
        "conv1: input of batch normalisation: [1, 3, 1, 1] found, more than one value per feature while training expected",
    );
    let message = "conv1: input of batch normalisation: [2, 3] found, [samples, 3, lines, columns] expected";
    refused(&[2, 3], &BatchNorm2d::new(3), message);
    let message = "conv1: input of instance normalisation: [2, 3, 1, 1] found, more than one value per channel expected";
    refused(&[2, 3, 1, 1], &InstanceNorm::new(3), message);
    let message =
        "conv1: channels of group normalisation: 3 for an input of [2, 3, 4, 5] found, a multiple of 2 groups expected";
    refused(image, &GroupNorm::new(2, 3), message);
    let message = "conv1: input of group normalisation: [2, 3, 4, 5] found, 4 channels in the second dimension expected";
    refused(image, &GroupNorm::new(2, 4), message);
}

/// The bounds of adaptive windows are computed with products, which have 32 bits on a GPU and 64 bits on the CPU engine.
#[test]
fn adaptive_windows_beyond_32_bits_are_refused_by_a_gpu() {
    let load = |len: usize| {
        let inputs = [Input::Floats(vec![1, 1, len], vec![0.5; len])];
        let pool = AdaptiveAvgPool1d { out: [len] };
        record(1, Tape::evaluation(), &inputs, false, |tape, x| vec![pool.forward(tape, &x[0])]).expect("a recording")
    };
    // 65,535² + 65,535 is the largest number of 32 bits that is one of these.
    let (fits, beyond) = (load(65_535), load(65_536));
    let same = |results: Vec<Results>| results[0].outputs[0].iter().all(|x| *x == 0.5);
    assert!(same(beyond.run(&Cpu::<f32>::default(), 0, 1)));
    let gpu = engines::gpu();
    assert!(same(fits.run(&gpu, 0, 1)));
    let refused = gpu.load(&beyond.blueprint()).map(drop).expect_err("too large");
    assert!(matches!(refused, thalweg::Error::Limit { .. }), "{refused}");
}
