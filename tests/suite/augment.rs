//! Augmentation of images on the device.

use crate::common::engines;
use crate::common::taped::{Input, Results, record};
use std::cell::Cell;
use thalweg::cpu::Cpu;
use thalweg::data::digits;
use thalweg::nn::{Augment, Conv2d, Flatten, LaneAugment, Linear, Model, Reshape, Sequential, Tape};
use thalweg::plan::{Blueprint, Engine};
use thalweg::sweep::{Job, Point, Train};
use thalweg::train::{Population, Setup};
use thalweg::{Adam, Recipe, Result, Trainer};

/// Images of noise-free numbers, samples × channels × lines × columns.
fn images(shape: [usize; 4]) -> Input {
    let len = shape.iter().product::<usize>();
    Input::Floats(shape.to_vec(), (0..len).map(|i| ((i * 37 % 101) as f64 - 50.0) / 50.0).collect())
}

/// One bright element in the middle of each image.
fn points([samples, side]: [usize; 2]) -> Input {
    let mut values = vec![0.0; samples * side * side];
    for sample in 0..samples {
        values[sample * side * side + side / 2 * side + side / 2] = 1.0;
    }
    Input::Floats(vec![samples, 1, side, side], values)
}

/// What comes out on the oracle, on single precision and on the GPU, which have to agree.
fn augmented(augment: Augment, images: &Input, step: u32) -> Vec<f64> {
    let taped = record(2, Tape::training(), std::slice::from_ref(images), false, |tape, x| vec![augment.forward(tape, &x[0])]);
    let taped = taped.expect("a recording");
    let first = |mut lanes: Vec<Results>| lanes.swap_remove(1).outputs.swap_remove(0);
    let exact = first(taped.run(&Cpu::<f64>::default(), step, 1));
    for engine in engines::all() {
        let found = first(taped.run(&engine, step, 1));
        for (i, (found, exact)) in found.iter().zip(&exact).enumerate() {
            assert!(
                (found - exact).abs() <= 2e-5 * (1.0 + exact.abs()),
                "{}, element {i}: {found}, exactly {exact}",
                engine.describe()
            );
        }
    }
    exact
}

#[test]
fn a_flip_turns_over_whole_images_and_leaves_others() {
    let input = images([40, 2, 3, 5]);
    let Input::Floats(_, values) = &input else { panic!("floats") };
    let found = augmented(Augment { flip: 0.5, ..Augment::default() }, &input, 3);
    let mut turned = 0;
    for (found, own) in found.chunks_exact(30).zip(values.chunks_exact(30)) {
        let over: Vec<f64> = own.chunks_exact(5).flat_map(|line| line.iter().rev().copied()).collect();
        assert!(found == own || found == over, "{found:?} of {own:?}");
        turned += usize::from(found == over);
    }
    assert!((8..=32).contains(&turned), "{turned} of 40");
    let all = augmented(Augment { flip: 1.0, ..Augment::default() }, &input, 3);
    assert!(all.chunks_exact(5).zip(values.chunks_exact(5)).all(|(found, own)| found.iter().eq(own.iter().rev())));
    // Lines stay where they are; a shift by 1e-9 changes numbers of size 1 by as much.
    let moved = augmented(Augment { flip: 1.0, shift: 1e-9, ..Augment::default() }, &input, 3);
    assert!(moved.iter().zip(&all).all(|(moved, turned)| (moved - turned).abs() < 1e-7));
}

/// A point keeps its mass, and goes as far as it may, evenly, along both axes.
#[test]
fn a_shift_moves_a_point_and_keeps_its_mass() {
    let (samples, side, shift) = (200, 9, 2.5);
    let found = augmented(Augment { shift, ..Augment::default() }, &points([samples, side]), 5);
    let mut moments = [[0.0; 2]; 2];
    for image in found.chunks_exact(side * side) {
        let sum: f64 = image.iter().sum();
        // Four weights in double precision.
        assert!((sum - 1.0).abs() < 1e-12, "{sum}");
        let place = |of: fn(usize, usize) -> usize| -> f64 {
            image.iter().enumerate().map(|(i, x)| x * of(i, side) as f64).sum::<f64>() - (side / 2) as f64
        };
        for (moments, moved) in moments.iter_mut().zip([place(|i, side| i / side), place(|i, side| i % side)]) {
            assert!(moved.abs() <= shift + 1e-12, "{moved}");
            moments[0] += moved / samples as f64;
            moments[1] += moved * moved / samples as f64;
        }
    }
    for [mean, squares] in moments {
        // Of even numbers between ±2.5: 0 and 2.5²/3, each within four deviations of the mean of 200.
        assert!(mean.abs() < 4.0 * (shift * shift / 3.0 / 200.0_f64).sqrt(), "{mean}");
        // A square deviates by 2.5² · √(1/5 − 1/9) = 1.86, the mean of 200 by 0.13.
        assert!((squares - shift * shift / 3.0).abs() < 0.55, "{squares}");
    }
}

#[test]
fn a_crop_stays_within_the_image_and_stretches_it() {
    // A ramp along columns: what is cut out and stretched is a ramp as well, of smaller slope, between the same ends.
    let side = 8;
    let ramp: Vec<f64> = (0..50 * side * side).map(|i| (i % side) as f64).collect();
    let input = Input::Floats(vec![50, 1, side, side], ramp);
    let found = augmented(Augment { crop: 0.4, ..Augment::default() }, &input, 1);
    let mut slopes = Vec::new();
    for line in found.chunks_exact(side) {
        let slope = line[1] - line[0];
        // Places between elements are rounded, and differences of numbers up to 7 lose three digits.
        assert!(line.windows(2).all(|pair| (pair[1] - pair[0] - slope).abs() < 1e-9), "{line:?}");
        assert!(line[0] >= -1e-9 && line[side - 1] <= 7.0 + 1e-9 && (0.6 - 1e-9..=1.0 + 1e-9).contains(&slope), "{line:?}");
        slopes.push(slope);
    }
    let mean = slopes.iter().sum::<f64>() / slopes.len() as f64;
    // Four deviations of the mean of 50 even numbers between 0.6 and 1: 0.4 / √12 / √50 each.
    assert!((mean - 0.8).abs() < 0.07, "{mean}");
}

#[test]
fn noise_has_its_deviation_and_differs_from_step_to_step() {
    let zeros = Input::Floats(vec![4, 1, 50, 50], vec![0.0; 10_000]);
    let augment = Augment { noise: 0.3, ..Augment::default() };
    let (first, second) = (augmented(augment, &zeros, 1), augmented(augment, &zeros, 2));
    assert_eq!(first, augmented(augment, &zeros, 1));
    assert!(first.iter().zip(&second).filter(|(a, b)| a == b).count() < 10);
    let mean = first.iter().sum::<f64>() / 1e4;
    let deviation = (first.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e4).sqrt();
    assert!(mean.abs() < 0.012 && (deviation - 0.3).abs() < 0.01, "{mean}, {deviation}");
}

#[test]
fn evaluation_and_no_strength_leave_images_as_they_are() {
    let input = images([3, 1, 4, 6]);
    let Input::Floats(_, values) = &input else { panic!("floats") };
    let augment = Augment { shift: 2.0, crop: 0.3, flip: 0.5, noise: 0.2 };
    let still =
        record(1, Tape::evaluation(), std::slice::from_ref(&input), false, |tape, x| vec![augment.forward(tape, &x[0])]);
    let still = still.expect("a recording").run(&Cpu::<f64>::default(), 1, 1);
    assert_eq!(still[0].outputs[0], *values);
    assert_eq!(augmented(Augment::default(), &input, 1), *values);
}

#[test]
fn what_cannot_be_is_told() {
    let told = |augment: Augment, shape: [usize; 3]| {
        let mut tape = Tape::training();
        let x = tape.constant(&shape, 0.0);
        augment.forward(&mut tape, &x);
        tape.check().expect_err("a mistake").to_string()
    };
    let shape = [2, 3, 4];
    assert_eq!(
        told(Augment::default(), shape),
        "input of an augmentation: [2, 3, 4] found, [samples, channels, lines, columns] expected"
    );
    for (augment, says) in [
        (Augment { crop: 1.0, ..Augment::default() }, "crop = 1 is out of range: at least 0 and below 1"),
        (Augment { flip: 1.5, ..Augment::default() }, "flip = 1.5 is out of range: 0 to 1"),
        (Augment { shift: -1.0, ..Augment::default() }, "shift = -1 is out of range: finite and at least 0"),
        (Augment { noise: f64::NAN, ..Augment::default() }, "noise = NaN is out of range: finite and at least 0"),
    ] {
        assert_eq!(told(augment, shape), says);
    }
}

/// An engine that counts the programs that it makes.
struct Loads<E>(E, Cell<usize>);

impl<E: Engine> Engine for Loads<E> {
    type Float = E::Float;
    type Program = E::Program;

    fn load(&self, blueprint: &Blueprint) -> Result<E::Program> {
        self.1.set(self.1.get() + 1);
        self.0.load(blueprint)
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

/// Strengths of a lane: shift, crop, probability of a flip, noise.
const LANES: [[f64; 4]; 4] = [[0.0; 4], [1.5, 0.0, 0.5, 0.0], [0.3, 0.4, 1.0, 0.2], [0.0, 0.0, 0.0, 0.7]];

fn setup(job: &Job) -> Result<Setup> {
    let strengths = LANES[job.trial as usize];
    let model = Sequential::new()
        .then(Reshape(vec![1, 8, 8]))
        .named("augment", LaneAugment::default())
        .then(Conv2d::new(1, 2, [3, 3]))
        .then(Flatten)
        .then(Linear::new(72, 10));
    let buffers = vec![("augment.strengths".into(), strengths.to_vec())];
    Ok(Setup { batch: 8.into(), seed: 5, buffers, ..Setup::new(model, Recipe::new(Adam::default())) })
}

/// A lane has the bits of the same model alone, and all lanes are in one program, whatever their strengths.
#[test]
fn lanes_with_strengths_of_their_own_share_one_program() -> Result<()> {
    fn check<E: Engine>(engine: E) -> Result<()> {
        let (data, engine) = (digits().rows_at(&(0..40).collect::<Vec<_>>())?, Loads(engine, Cell::new(0)));
        let jobs = [0, 1, 2, 3].map(|trial| Job { trial, fold: None, seed: None, point: Point::new() });
        let mut population = Population::new(&engine, &data, setup).validation(&data);
        let together = population.train(&jobs, 7)?;
        assert_eq!(engine.1.get(), 1, "{}", engine.describe());
        for (job, together) in jobs.iter().zip(&together) {
            let mut alone = Population::new(&engine, &data, setup).validation(&data);
            assert_eq!(alone.train(std::slice::from_ref(job), 7)?[0], *together, "{}", engine.describe());
            let [own, other] = [&alone, &population].map(|population| population.state(job).expect("a state"));
            for (name, array) in own.iter() {
                assert_eq!(other.get(name), Some(array), "{}, lane {}: {name}", engine.describe(), job.trial);
            }
        }
        assert!((1..4).all(|lane| (0..lane).all(|other| together[lane] != together[other])), "{together:?}");
        Ok(())
    }
    check(Cpu::<f64>::default())?;
    check(engines::cpu())?;
    check(engines::gpu())
}

/// Strengths of lanes do what those of the layer do, and lanes without any see images as they are.
#[test]
fn strengths_of_lanes_are_those_of_an_augmentation() -> Result<()> {
    let train = |model: Sequential, buffer: Option<[f64; 4]>| {
        let data = digits().rows_at(&(0..40).collect::<Vec<_>>())?;
        let mut trainer = Trainer::builder(&model, Recipe::new(Adam::default())).train(&data).batch(8);
        if let Some(strengths) = buffer {
            trainer = trainer.buffer(0, "augment.strengths", &strengths);
        }
        let mut trainer = trainer.build(&Cpu::<f32>::default())?;
        trainer.advance(7)?;
        trainer.params(0)
    };
    let model = |augment: Option<Box<dyn Model>>| {
        let images = Sequential::new().then(Reshape(vec![1, 8, 8]));
        let images = match augment {
            Some(augment) => images.named("augment", augment),
            None => images,
        };
        images.named("flat", Flatten).named("last", Linear::new(64, 10))
    };
    let lane = |may: LaneAugment, strengths| train(model(Some(Box::new(may))), Some(strengths));
    let own = |augment: Augment| train(model(Some(Box::new(augment))), None);
    let all = LaneAugment::default();
    let still = train(model(None), None)?;
    assert_eq!((lane(all, [0.0; 4])?, train(model(Some(Box::new(all))), None)?), (still.clone(), still));
    let augment = Augment { shift: 1.3, crop: 0.3, flip: 0.4, noise: 0.2 };
    assert_eq!(lane(all, [1.3, 0.3, 0.4, 0.2])?, own(augment)?);
    for other in [[1.2, 0.3, 0.4, 0.2], [1.3, 0.2, 0.4, 0.2], [1.3, 0.3, 0.1, 0.2], [1.3, 0.3, 0.4, 0.1]] {
        assert_ne!(lane(all, other)?, own(augment)?, "{other:?}");
    }
    // What no lane may have is left out, and its number has no effect.
    let noisy = LaneAugment { shift: false, crop: false, flip: false, noise: true };
    assert_eq!(lane(noisy, [1.0, 0.5, 0.5, 0.2])?, own(Augment { noise: 0.2, ..Augment::default() })?);
    Ok(())
}
