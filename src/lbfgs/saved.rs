//! L-BFGS in files: parameters, the pairs with their inner products, and the last direction.

use super::Lbfgs;
use super::history::History;
use crate::checkpoint::{Element, Loaded, Tensors, read, write};
use crate::error::{Error, Result, range};
use crate::plan::{BufferId, Program};
use crate::rule::Real;
use std::path::Path;

/// What the host knows beside the inner products, in this order: t, whether there was a direction, max |g| where the line
/// starts, γ, and the units of d and of y.
const NUMBERS: &str = "lbfgs.numbers";
/// Slots from the oldest pair to the newest, and by slot: the unit of y, s·g, y·g, and the products s·y and y·y with all
/// others.
const SLOTS: &str = "lbfgs.slots";
const UNITS: &str = "lbfgs.units";
const SG: &str = "lbfgs.sg";
const YG: &str = "lbfgs.yg";
const SY: &str = "lbfgs.sy";
const YY: &str = "lbfgs.yy";

/// The buffers of a run by the name that their part has of each tensor.
type Kept = (String, BufferId);

impl<P: Program> Lbfgs<P>
where
    P::Float: Element,
{
    /// All that the run has come to between two steps, for a file: `param.w`, the last direction `state.w.d`, the gradient
    /// where it began `state.w.prev_grad`, the pairs `state.w.s.0`, `state.w.y.0` and so on, and what the host knows of them.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn tensors(&mut self) -> Result<Tensors> {
        let mut found = Vec::new();
        for (name, buffer) in self.kept(self.stepper.history.sg.len()) {
            found.push((name, self.program.read(buffer, 0)?));
        }
        self.tensors_of(&found)
    }

    /// What is kept on the device, by name, and what the host knows, as tensors.
    pub(super) fn tensors_of(&self, found: &[(String, Vec<P::Float>)]) -> Result<Tensors> {
        let mut tensors = Tensors::default();
        for (name, values) in found {
            for tensor in self.arena.tensors() {
                tensors.put(&file_name(name, &tensor.name), &tensor.shape, &values[tensor.offset..][..tensor.len()])?;
            }
        }
        let (stepper, history) = (&self.stepper, &self.stepper.history);
        let pairs = history.sg.len();
        let slots: Vec<u64> = history.slots.iter().map(|&slot| slot as u64).collect();
        let moved = f64::from(u8::from(stepper.moved));
        let numbers = [stepper.t, moved, stepper.largest_at_start, history.gamma, stepper.units.d, stepper.units.y];
        tensors.put(SLOTS, &[slots.len()], &slots)?;
        tensors.put(NUMBERS, &[numbers.len()], &numbers)?;
        tensors.put(UNITS, &[pairs], &stepper.units.pairs[..pairs])?;
        tensors.put(SG, &[pairs], &history.sg)?;
        tensors.put(YG, &[pairs], &history.yg)?;
        tensors.put_parts(SY, &[pairs, pairs], &history.sy)?;
        tensors.put_parts(YY, &[pairs, pairs], &history.yy)?;
        let machine = self.program.machine();
        tensors.put_machine(machine.engine, &machine.adapter);
        Ok(tensors)
    }

    /// Takes a run up from what [`Lbfgs::tensors`] gave: the steps that follow have the bits that they would have had there.
    /// Settings are those of this L-BFGS. All is checked before anything changes. Values that are not finite are loaded, and
    /// said.
    ///
    /// # Errors
    /// Tensors that are missing, unknown, of another shape or type, each by its name; more pairs than this history has room
    /// for; a lost device.
    pub fn load_tensors(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let history = self.history(tensors)?;
        let units: Vec<f64> = tensors.get(UNITS)?;
        let [t, moved, largest_at_start, _, d, y] = numbers(tensors)?;
        let kept = self.kept(history.sg.len());
        let (mut arenas, mut loaded) = (Vec::new(), Loaded::default());
        for (name, buffer) in &kept {
            let mut values = vec![P::Float::of(0.0); self.arena.len()];
            for tensor in self.arena.tensors() {
                let name = file_name(name, &tensor.name);
                let found = tensors.tensor(&name)?;
                if found.shape != tensor.shape {
                    let [expected, found] = [&tensor.shape, &found.shape].map(|shape| format!("shape {shape:?}"));
                    return Err(Error::shape(format!("tensor '{name}' of the file"), expected, found));
                }
                values[tensor.offset..][..tensor.len()].copy_from_slice(&tensors.get::<P::Float>(&name)?);
                loaded.not_finite.extend(found.first_not_finite().map(|place| (name.clone(), place)));
                loaded.loaded.push(name);
            }
            arenas.push((*buffer, values));
        }
        loaded.loaded.extend([NUMBERS, SLOTS, UNITS, SG, YG, SY, YY].map(String::from));
        if let Some((unknown, _)) = tensors.iter().find(|(name, _)| !loaded.loaded.iter().any(|known| known == name)) {
            let known: Vec<&str> = loaded.loaded.iter().map(String::as_str).collect();
            return Err(Error::unknown("tensor of the file", unknown, &known));
        }
        arenas.iter().try_for_each(|(buffer, values)| self.program.write(*buffer, 0, 0, values))?;
        let stepper = &mut self.stepper;
        (stepper.t, stepper.moved, stepper.largest_at_start) = (t, moved != 0.0, largest_at_start);
        (stepper.units.d, stepper.units.y) = (d, y);
        stepper.units.pairs.fill(1.0);
        stepper.units.pairs[..units.len()].copy_from_slice(&units);
        stepper.history = history;
        loaded.warn();
        Ok(loaded)
    }

    /// Writes the whole state into a file: see [`crate::checkpoint`].
    ///
    /// # Errors
    /// [`Error::File`], or as for [`Lbfgs::tensors`].
    pub fn save_file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        write(path, &self.tensors()?)
    }

    /// Takes a run up from a file of [`Lbfgs::save_file`].
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Damaged`], or as for [`Lbfgs::load_tensors`].
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<Loaded> {
        self.load_tensors(&read(path)?)
    }

    pub(super) fn kept(&self, pairs: usize) -> Vec<Kept> {
        let buffers = &self.stepper.buffers;
        let first = [("param", self.params), ("state.d", buffers.d), ("state.prev_grad", buffers.start_grads)];
        let pair = |(slot, &[s, y]): (usize, &[BufferId; 2])| [(format!("state.s.{slot}"), s), (format!("state.y.{slot}"), y)];
        let pairs = buffers.pairs[..pairs].iter().enumerate().flat_map(pair);
        first.map(|(name, buffer)| (name.to_string(), buffer)).into_iter().chain(pairs).collect()
    }

    /// The history of a file, if all of it fits together.
    fn history(&self, tensors: &Tensors) -> Result<History> {
        let size = self.stepper.history.size;
        let (sg, yg): (Vec<f64>, Vec<f64>) = (tensors.get(SG)?, tensors.get(YG)?);
        let pairs = sg.len();
        range::require(pairs <= size, "pairs of the file", pairs, &format!("at most history_size = {size}"))?;
        let square = |name: &str| {
            let values: Vec<f64> = tensors.get(name)?;
            let shape = &tensors.tensor(name)?.shape;
            if *shape != [pairs, pairs] {
                let expected = format!("shape {:?}", [pairs, pairs]);
                return Err(Error::shape(format!("tensor '{name}' of the file"), expected, format!("shape {shape:?}")));
            }
            Ok((0..pairs).map(|row| values[row * pairs..][..pairs].to_vec()).collect::<Vec<_>>())
        };
        let slots: Vec<u64> = tensors.get(SLOTS)?;
        let mut places = slots.clone();
        places.sort_unstable();
        if !places.into_iter().eq(0..pairs as u64) || yg.len() != pairs || tensors.tensor(UNITS)?.len() != pairs {
            let expected = format!("each of 0 to {pairs} without the last, once, as {SG} has");
            return Err(Error::shape(format!("{SLOTS}, {UNITS} and {YG} of the file"), expected, format!("{slots:?}")));
        }
        let [_, _, _, gamma, _, _] = numbers(tensors)?;
        let slots = slots.into_iter().map(|slot| slot as usize).collect();
        Ok(History { size, slots, sy: square(SY)?, yy: square(YY)?, sg, yg, gamma })
    }
}

/// `state.d` of a tensor `w` is `state.w.d`.
fn file_name(name: &str, tensor: &str) -> String {
    match name.split_once('.') {
        Some((kind, part)) => format!("{kind}.{tensor}.{part}"),
        None => format!("{name}.{tensor}"),
    }
}

fn numbers(tensors: &Tensors) -> Result<[f64; 6]> {
    let numbers: Vec<f64> = tensors.get(NUMBERS)?;
    let found = numbers.len();
    numbers.try_into().map_err(|_| Error::shape(format!("tensor '{NUMBERS}' of the file"), "6 numbers", found))
}
