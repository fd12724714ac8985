//! Timing a plan on an engine.

use super::work::{Size, Work};
use anyhow::{Context, Result};
use std::io::{BufRead, Write};
use std::time::Instant;
use thalweg::cpu::CpuProgram;
use thalweg::gpu::GpuProgram;
use thalweg::op::Copy;
use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};

/// One repetition, in milliseconds.
#[derive(Clone, Copy)]
pub struct Sample {
    /// By the device's clock if it has one, else by the host's.
    pub ms: f64,
    /// By the host's clock, including submission and waiting.
    pub wall_ms: f64,
}

/// A program that can be timed.
pub trait Timed: Program<Float = f32> {
    /// Which engine this is.
    const ENGINE: &'static str;

    /// Runs a plan once, to its end; returns the device's seconds if it has a clock.
    fn once(&mut self, plan: PlanId) -> Result<Option<f64>>;

    /// The copy that a work over `n` elements is compared with: a program of its own.
    fn yardstick<E: Engine<Program = Self, Float = f32>>(
        engine: &E,
        n: usize,
        streams: (usize, usize),
    ) -> Result<Yardstick<Self>>
    where
        Self: Sized;
}

/// A copy, and the bytes that it moves.
pub enum Yardstick<P> {
    /// A plan of one copy operation.
    Plan { program: P, bytes: f64 },
    /// A loop over as many streams as the work has, in place if the work is in place.
    Loop { arrays: Vec<Vec<f32>>, writes: usize, bytes: f64 },
}

impl<P: Timed> Yardstick<P> {
    pub fn bytes(&self) -> f64 {
        match self {
            Self::Plan { bytes, .. } | Self::Loop { bytes, .. } => *bytes,
        }
    }

    fn sample(&mut self) -> Result<Sample> {
        match self {
            Self::Plan { program, .. } => sample(program),
            Self::Loop { arrays, writes, .. } => {
                let start = Instant::now();
                super::touch::touch(arrays, *writes);
                let ms = start.elapsed().as_secs_f64() * 1e3;
                Ok(Sample { ms, wall_ms: ms })
            }
        }
    }
}

impl Timed for CpuProgram<f32> {
    const ENGINE: &'static str = "cpu";

    fn once(&mut self, plan: PlanId) -> Result<Option<f64>> {
        self.run(plan, 1)?;
        Ok(None)
    }

    fn yardstick<E: Engine<Program = Self, Float = f32>>(
        _: &E,
        n: usize,
        (reads, writes): (usize, usize),
    ) -> Result<Yardstick<Self>> {
        // Only a copy from one array to another has an output that is not an input.
        let arrays = if (reads, writes) == (1, 1) { 2 } else { reads };
        Ok(Yardstick::Loop { arrays: vec![vec![1.0; n]; arrays], writes, bytes: ((reads + writes) * n * 4) as f64 })
    }
}

impl Timed for GpuProgram {
    const ENGINE: &'static str = "gpu";

    fn once(&mut self, plan: PlanId) -> Result<Option<f64>> {
        Ok(self.run_timed(plan, 1)?)
    }

    fn yardstick<E: Engine<Program = Self, Float = f32>>(engine: &E, n: usize, _: (usize, usize)) -> Result<Yardstick<Self>> {
        let mut layout = Layout::new(1);
        let (from, to) = (layout.floats("from", n), layout.floats("to", n));
        let mut plan = Plan::default();
        plan.operate(Copy { input: layout.whole(from), output: layout.whole(to) });
        let mut program = engine.load(&Blueprint::of(&layout, &[plan]))?;
        program.write(from, 0, 0, &vec![1.0; n])?;
        Ok(Yardstick::Plan { program, bytes: (n * 8) as f64 })
    }
}

fn sample<P: Timed>(program: &mut P) -> Result<Sample> {
    let start = Instant::now();
    let device = program.once(PlanId::FIRST)?;
    let wall_ms = start.elapsed().as_secs_f64() * 1e3;
    Ok(Sample { ms: device.map_or(wall_ms, |seconds| seconds * 1e3), wall_ms })
}

/// Loads a work and fills its inputs with numbers.
fn load<E: Engine<Float = f32>>(engine: &E, work: &Work) -> Result<E::Program> {
    let mut program = engine.load(&work.blueprint)?;
    let mut random = fastrand::Rng::with_seed(1);
    for &id in &work.inputs {
        let values: Vec<f32> = (0..work.blueprint.layout().buffer(id)?.len).map(|_| random.f32() - 0.5).collect();
        (0..work.blueprint.layout().lanes()).try_for_each(|lane| program.write(id, lane, 0, &values))?;
    }
    Ok(program)
}

/// Loads a work and makes its first step.
fn begin<E: Engine<Float = f32>>(engine: &E, work: &mut Work) -> Result<E::Program> {
    let mut program = load(engine, work)?;
    if let Some(stepper) = &mut work.stepper {
        // One real step fills the rows, so that the timed ones find a row to use.
        stepper.start(&mut program)?;
        stepper.steps(&mut program, 1)?;
    }
    Ok(program)
}

/// Repetitions that are not counted.
const WARM_UP: u32 = 2;

/// The samples of a work, and those of the copy that was timed in turns with it.
pub struct Pair {
    pub own: Vec<Sample>,
    pub copy: Vec<Sample>,
    /// Bytes that the copy moves.
    pub copy_bytes: f64,
}

/// Times a work and a copy in turns, so that both run on the machine in the same state.
pub fn pair<E: Engine<Float = f32>>(engine: &E, work: &mut Work, reps: u32) -> Result<Pair>
where
    E::Program: Timed,
{
    let Size::Elements(n) = work.size else { unreachable!("only streams have a copy beside them") };
    let mut program = begin(engine, work)?;
    let mut yardstick = E::Program::yardstick(engine, n, work.streams)?;
    let (mut own, mut copy) = (Vec::new(), Vec::new());
    for rep in 0..WARM_UP + reps {
        let samples = (yardstick.sample()?, sample(&mut program)?);
        if rep >= WARM_UP {
            copy.push(samples.0);
            own.push(samples.1);
        }
    }
    Ok(Pair { own, copy, copy_bytes: yardstick.bytes() })
}

/// Times a work once for every line on stdin.
pub fn in_turns<E: Engine<Float = f32>>(engine: &E, mut work: Work) -> Result<()>
where
    E::Program: Timed,
{
    let mut program = begin(engine, &mut work)?;
    let mut stdin = std::io::stdin().lock();
    while skip_line(&mut stdin).context("cannot read stdin")? {
        let ms = sample(&mut program)?.ms;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{ms}")?;
        out.flush()?;
    }
    Ok(())
}

/// Reads a line without keeping it, however long it is; false at the end of the input.
pub fn skip_line(input: &mut impl BufRead) -> std::io::Result<bool> {
    let mut any = false;
    loop {
        let block = input.fill_buf()?;
        if block.is_empty() {
            return Ok(any);
        }
        any = true;
        let end = block.iter().position(|&byte| byte == b'\n');
        let used = end.map_or(block.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(true);
        }
    }
}

/// Times a work alone.
pub fn alone<E: Engine<Float = f32>>(engine: &E, work: &Work, reps: u32) -> Result<Vec<Sample>>
where
    E::Program: Timed,
{
    let mut program = load(engine, work)?;
    (0..WARM_UP).try_for_each(|_| sample(&mut program).map(|_| ()))?;
    (0..reps).map(|_| sample(&mut program)).collect()
}

#[cfg(test)]
mod tests {
    use super::skip_line;
    use std::io::{BufReader, Read, repeat};

    #[test]
    fn a_line_may_be_long_and_the_last_needs_no_end() {
        let count = |text: &[u8]| {
            let mut input = BufReader::with_capacity(3, text);
            std::iter::from_fn(|| skip_line(&mut input).expect("bytes").then_some(())).count()
        };
        let texts = ["", "\n", "\n\n\n", "a", "a\n", "abcdefg\nhi", "abc\n\nabcdef\n"];
        assert_eq!(texts.map(|text| count(text.as_bytes())), [0, 1, 3, 1, 1, 2, 3]);
        let mut zeros = BufReader::new(repeat(0).take(1 << 24));
        assert!(skip_line(&mut zeros).expect("bytes") && !skip_line(&mut zeros).expect("bytes"));
    }
}
