//! Trainers whose micro-batches several machines share: any number of them has the bits of one trainer.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::numbers::numbers;
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::nn::{BatchNorm1d, Dropout, Init, Linear, Model, Nonlinearity, Sequential, Tape, Value};
use thalweg::plan::{Engine, Program};
use thalweg::tree::{Joiner, Node, share};
use thalweg::{Accumulation, AdamW, Metrics, Real, Recipe, Result, SumOrder, Trainer};

const LANES: usize = 2;

fn data(rows: usize) -> Dataset {
    let labels = (0..rows as u32).map(|row| row % 3).collect();
    Dataset::new(numbers(5, rows * 2), 2, labels).expect("data")
}

/// Running statistics, and random numbers.
fn model() -> Sequential {
    let norm = BatchNorm1d { momentum: 0.3, ..BatchNorm1d::new(7) };
    Sequential::new()
        .then(Linear::new(2, 7))
        .then(norm)
        .then(Nonlinearity::Tanh)
        .then(Dropout { p: 0.2 })
        .then(Linear::new(7, 3))
}

fn recipe(micro_batches: usize) -> Recipe {
    let rules = [0.05, 0.01].map(|lr| AdamW { lr, ..Default::default() });
    let order = SumOrder::Tree { micro_batches };
    Recipe::population(rules).clip_norm(0.5).accumulate(Accumulation { order, ..Default::default() })
}

/// 83 rows in batches of 4, the last one of 3; steps of up to 8 batches, the last one of 5.
fn of<E: Engine>(engine: &E, model: &dyn Model, recipe: Recipe, on_ranks: bool) -> Result<Trainer<E::Program>> {
    let data = data(83);
    let builder = Trainer::builder(model, recipe).train(&data).validation(&data).batch(4).seeds(&[3, 4]);
    let mut trainer = if on_ranks { builder.on_ranks() } else { builder }.build(engine)?;
    trainer.micro_batches(8)?;
    Ok(trainer)
}

/// A step of ranks that are trainers of one process.
fn step<P: Program>(all: &mut [Trainer<P>]) -> Result<()> {
    let (ranks, len) = (all.len(), all[0].optimizer().arena().len());
    let count = all.iter_mut().map(Trainer::begin_step).collect::<Result<Vec<_>>>()?[0];
    let mut joiners: Vec<Joiner<Vec<P::Float>>> = (0..LANES).map(|_| Joiner::new(count)).collect();
    let (mut counts, mut marks) = (vec![0; LANES], Vec::new());
    for (rank, trainer) in all.iter_mut().enumerate() {
        for node in Node::of(share(count, ranks, rank)) {
            for number in node.micro_batches() {
                marks.extend(trainer.micro_batch(number)?);
                trainer.optimizer_mut().accumulate()?;
            }
            let mut sums = vec![vec![P::Float::of(0.0); len]; LANES];
            let own = trainer.optimizer_mut().take_sum(&mut sums)?;
            counts.iter_mut().zip(own).for_each(|(count, own)| *count += own);
            for (joiner, sum) in joiners.iter_mut().zip(sums) {
                joiner.put(node, sum, |left, right| left.iter_mut().zip(right).for_each(|(left, right)| *left += right));
            }
        }
    }
    let sums: Vec<Vec<P::Float>> = joiners.into_iter().map(|joiner| joiner.sum().expect("all nodes")).collect();
    all.iter_mut().try_for_each(|trainer| {
        trainer.optimizer_mut().put_sum(&sums, &counts)?;
        trainer.optimizer_mut().step()?;
        trainer.end_step(&marks)
    })
}

/// Parameters and predictions, by lane; the latter depend on running statistics.
fn outcome<P: Program>(trainer: &mut Trainer<P>) -> Result<Vec<Vec<P::Float>>> {
    let mut all = Vec::new();
    for lane in 0..LANES {
        all.push(trainer.params(lane)?);
        all.push(trainer.predict(lane, &numbers(9, 20))?);
    }
    Ok(all)
}

fn assert_same<P: Program>(what: &str, found: &mut Trainer<P>, expected: &(Vec<Vec<P::Float>>, Vec<Metrics>)) -> Result<()> {
    assert_eq!(found.metrics()?, expected.1, "{what}");
    for (found, expected) in outcome(found)?.iter().zip(&expected.0) {
        assert_same_bits(what, found, expected);
    }
    Ok(())
}

/// Over the end of an epoch, whose last step has fewer micro-batches than there are ranks would want.
#[test]
fn any_number_of_machines_has_the_bits_of_one_trainer() -> Result<()> {
    fn check<E: Engine>(engine: &E, like_any_trainer: bool) -> Result<()> {
        let model = model();
        for steps in [2, 5] {
            let mut alone = of(engine, &model, recipe(8), !like_any_trainer)?;
            let before = outcome(&mut alone)?;
            alone.advance(steps)?;
            let expected = (outcome(&mut alone)?, alone.metrics()?);
            assert!(expected.0.iter().zip(&before).all(|(after, before)| after != before), "all of it moves");
            for ranks in [1, 3, 6] {
                let mut all = (0..ranks).map(|_| of(engine, &model, recipe(8), true)).collect::<Result<Vec<_>>>()?;
                (0..steps).try_for_each(|_| step(&mut all))?;
                for trainer in &mut all {
                    assert_same(&format!("{}, {steps} steps on {ranks}", engine.describe()), trainer, &expected)?;
                    assert_eq!((trainer.epochs(), trainer.steps()), (alone.epochs(), steps));
                }
                // A machine that goes on alone has the bits, too.
                all[0].advance(4)?;
                let mut later = of(engine, &model, recipe(8), !like_any_trainer)?;
                later.advance(steps + 4)?;
                let expected = (outcome(&mut later)?, later.metrics()?);
                assert_same(&format!("{}, alone after {ranks}", engine.describe()), &mut all[0], &expected)?;
            }
        }
        Ok(())
    }
    check(&Cpu::<f64>::default(), true)?;
    check(&engines::cpu(), true)?;
    check(&engines::gpu(), false)
}

/// Blocks of 20 rows, the last one of 3, of lanes with other parameters.
#[test]
fn machines_that_share_an_evaluation_have_the_bits_of_one() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (model, data) = (model(), data(83));
        let builder = Trainer::builder(&model, recipe(8)).train(&data).validation(&data).evaluation_rows(20).seeds(&[3, 4]);
        let mut trainer = builder.build(engine)?;
        trainer.advance(2)?;
        let expected = trainer.evaluate()?;
        assert_ne!(expected[0], expected[1]);
        for ranks in 1..=6 {
            let blocks = |rank| share(trainer.evaluation_blocks(), ranks, rank);
            let shares: Vec<_> = (0..ranks).map(blocks).collect();
            let sums = shares.into_iter().map(|own| trainer.measure_blocks(own)).collect::<Result<Vec<_>>>()?.concat();
            assert_eq!(sums.len(), 5 * trainer.block_sums());
            assert_eq!(trainer.evaluation_of(&sums)?, expected, "{}, {ranks} machines", engine.describe());
        }
        assert_refused(trainer.measure_blocks(4..6), &["blocks", "4..6", "within 0..5"]);
        assert_refused(trainer.evaluation_of(&[]), &["sums of an evaluation", "5 blocks"]);
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    check(&engines::cpu())?;
    check(&engines::gpu())
}

/// A buffer whose new value is computed with what another buffer has become.
#[derive(Debug)]
struct Entangled;

impl Model for Entangled {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let count = tape.buffer("count", &[1], Init::Zeros);
        let next = count.apply(|x| x + 1.0);
        let squares = tape.buffer("squares", &[1], Init::Zeros);
        let root = next.sum(&[0]).reshape(&[1]);
        tape.assign(&count, &next);
        tape.assign(&squares, &root.apply(|x| x.clone() * x));
        Linear::new(2, 3).forward(tape, x)
    }
}

/// The result must be an error with these parts in its message.
#[track_caller]
fn assert_refused<T>(result: Result<T>, parts: &[&str]) {
    let message = result.err().expect("an error").to_string();
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn what_machines_cannot_share_is_an_error() -> Result<()> {
    let engine = Cpu::<f32>::default();
    let entangled = of(&engine, &Entangled, recipe(8), true).map(drop);
    assert_refused(entangled, &["the untrained buffer 'squares'", "cannot be put off"]);
    let (plain, data) = (Recipe::new(AdamW::default()), data(8));
    let built = Trainer::builder(&model(), plain).train(&data).on_ranks().build(&engine).map(drop);
    assert_refused(built, &["a trainer on ranks", "micro-batches"]);
    let streamed = Trainer::builder(&model(), recipe(8)).train(&data).on_ranks().stream(2).build(&engine).map(drop);
    assert_refused(streamed, &["on_ranks", "stream"]);
    let mut alone = of(&engine, &model(), recipe(8), false)?;
    assert_refused(alone.begin_step().map(drop), &["a step that machines share", ".on_ranks()"]);
    let mut shared = of(&engine, &model(), recipe(8), true)?;
    shared.begin_step()?;
    assert_refused(shared.micro_batch(8).map(drop), &["micro-batch", "8", "below 8"]);
    let marks = vec![0.0; 3 * shared.marks()];
    assert_refused(shared.end_step(&marks), &["marks of micro-batches", "8 times"]);
    Ok(())
}
