//! Hyper rows are supplied ahead, in a ring: however many steps run at a time, each finds its own row.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::with;
use crate::common::oracle::EPSILON;
use std::collections::VecDeque;
use std::ops::Range;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::plan::{Answer, Blueprint, BufferId, Engine, Machine, PlanId, Program, SLOTS, Tag, Values};
use thalweg::{Recipe, Result, Sgd};

/// Adam's rows differ at every step.
fn adam<E: Engine>(engine: &E, len: usize) -> Model<E::Program> {
    let rule = with("adam", "lr=0.01 beta2=0.9999");
    let mut model = Model::new(engine, Recipe::new(rule.clone()).clip_norm(10.0), &*rule, &[len]);
    model.set_params(0, &numbers(1, len));
    model.set_grads(0, &numbers(2, len));
    model
}

#[test]
fn many_steps_at_once_are_as_many_single_steps() {
    for engine in [engines::cpu(), engines::gpu()] {
        let (mut at_once, mut single) = (adam(&engine, 100), adam(&engine, 100));
        at_once.steps(SLOTS + 44);
        (0..SLOTS + 44).for_each(|_| single.step());
        assert_eq!(at_once.report(0), single.report(0), "{}", engine.name);
        for ((name, found), (_, expected)) in at_once.arrays(0).iter().zip(single.arrays(0)) {
            assert_same_bits(&format!("{}, {name}", engine.name), found, &expected);
        }
    }
}

#[test]
fn blocks_of_any_length_are_as_many_single_steps() {
    for engine in [engines::cpu(), engines::gpu()] {
        let (mut blocks, mut single) = (adam(&engine, 100), adam(&engine, 100));
        let lengths = [1, 31, 33, 64, 65, 255, 256, 257, 7, 1000];
        lengths.iter().for_each(|&length| blocks.steps(length));
        (0..lengths.iter().sum()).for_each(|_| single.step());
        assert_same_bits(engine.name, &blocks.params(0), &single.params(0));
    }
}

/// A device that is always behind: answers arrive only once the host has waited, and of several requests only the first few are
/// served, as on a busy GPU.
struct Behind;

struct BehindProgram {
    inner: CpuProgram<f32>,
    under_way: VecDeque<Answer<f32>>,
    arrived: VecDeque<Answer<f32>>,
    given: Answer<f32>,
}

impl Engine for Behind {
    type Float = f32;
    type Program = BehindProgram;

    fn load(&self, blueprint: &Blueprint) -> Result<BehindProgram> {
        let inner = Cpu::default().load(blueprint)?;
        Ok(BehindProgram { inner, under_way: VecDeque::new(), arrived: VecDeque::new(), given: Answer::default() })
    }

    fn describe(&self) -> String {
        "a device that is behind".into()
    }
}

impl Program for BehindProgram {
    type Float = f32;

    fn machine(&self) -> Machine {
        self.inner.machine()
    }

    fn repeat(&mut self, plans: &[PlanId], times: usize) -> Result<()> {
        self.inner.repeat(plans, times)
    }

    fn write(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[f32]) -> Result<()> {
        self.inner.write(buffer, lane, offset, values)
    }

    fn write_indices(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u32]) -> Result<()> {
        self.inner.write_indices(buffer, lane, offset, values)
    }

    fn read(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<f32>> {
        self.settle()?;
        self.inner.read(buffer, lane)
    }

    fn read_range(&mut self, buffer: BufferId, lane: usize, range: Range<usize>) -> Result<Vec<f32>> {
        self.settle()?;
        self.inner.read_range(buffer, lane, range)
    }

    fn read_indices(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u32>> {
        self.settle()?;
        self.inner.read_indices(buffer, lane)
    }

    fn read_halves(&mut self, buffer: BufferId, lane: usize) -> Result<Vec<u16>> {
        self.inner.read_halves(buffer, lane)
    }

    fn write_halves(&mut self, buffer: BufferId, lane: usize, offset: usize, values: &[u16]) -> Result<()> {
        self.inner.write_halves(buffer, lane, offset, values)
    }

    fn read_all(&mut self, buffers: &[BufferId]) -> Result<Vec<Values<f32>>> {
        self.settle()?;
        self.inner.read_all(buffers)
    }

    fn request(&mut self, tag: Tag, buffers: &[BufferId]) -> Result<()> {
        self.inner.request(tag, buffers)?;
        let answer = self.inner.arrived(tag)?.cloned();
        if self.under_way.len() + self.arrived.len() < 4 {
            self.under_way.extend(answer);
        }
        Ok(())
    }

    fn arrived(&mut self, tag: Tag) -> Result<Option<&Answer<f32>>> {
        let Some(own) = self.arrived.iter().position(|answer| answer.tag == tag) else { return Ok(None) };
        let Some(oldest) = self.arrived.remove(own) else { return Ok(None) };
        self.given = oldest;
        Ok(Some(&self.given))
    }

    fn settle(&mut self) -> Result<()> {
        self.arrived.append(&mut self.under_way);
        Ok(())
    }
}

#[test]
fn answers_that_come_late_are_not_believed() {
    let (mut behind, mut expected) = (adam(&Behind, 100), adam(&engines::cpu(), 100));
    behind.steps(5 * SLOTS);
    expected.steps(5 * SLOTS);
    assert_eq!(behind.report(0), expected.report(0));
    assert_same_bits("params", &behind.params(0), &expected.params(0));
}

/// The same on a busy GPU: a software driver takes ten times as long for a step as the host, so its queue is always full.
#[test]
fn a_device_that_is_far_behind_finds_its_rows() {
    let (len, steps) = (100_000, 3 * SLOTS);
    let (mut fast, mut slow) = (adam(&engines::gpu(), len), adam(&engines::gpu(), len));
    fast.steps(steps);
    for _ in 0..steps / 16 {
        slow.steps(16);
        slow.report(0);
    }
    assert_eq!(fast.report(0).applied as usize, steps);
    assert_same_bits("params", &fast.params(0), &slow.params(0));
}

/// Compared with the closed form of Adagrad with a constant gradient and a decaying learning rate.
#[test]
fn every_step_has_its_own_row() {
    const STEPS: usize = 3 * SLOTS;
    fn check<E: Engine>(engine: &E, bound: f64) {
        let rule = with("adagrad", "lr=0.5 lr_decay=0.25 initial_accumulator_value=0 eps=1e-37");
        let mut model = Model::new(engine, Recipe::new(rule.clone()), &*rule, &[1]);
        model.set_grads(0, &[2.0]);
        let mut expected = 0.0;
        for t in 1..=STEPS {
            model.step();
            // S = 4·t, so the step is lr/(1 + (t − 1)·lr_decay) · 2/√(4·t).
            expected -= 0.5 / (1.0 + (t - 1) as f64 * 0.25) / (t as f64).sqrt();
        }
        assert_close(&engine.describe(), &model.params(0), &[expected], |_| bound * expected.abs());
    }
    check(&Cpu::<f64>::default(), 1e-12);
    // A sum of as many terms as steps, each rounded.
    [engines::cpu(), engines::gpu()].iter().for_each(|engine| check(engine, STEPS as f64 * EPSILON));
}

#[test]
fn no_steps_change_nothing() {
    for engine in [engines::cpu(), engines::gpu()] {
        let rule = Sgd::default();
        let mut model = Model::new(&engine, Recipe::new(rule.clone()), &rule, &[3]);
        model.set_params(0, &[1.0, 2.0, 3.0]);
        model.set_grads(0, &[1.0, 1.0, 1.0]);
        model.steps(0);
        assert_same_bits(engine.name, &model.params(0), &[1.0, 2.0, 3.0]);
        assert_eq!(model.report(0).applied, 0, "{}", engine.name);
    }
}
