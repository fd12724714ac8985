//! Optimizers of PyTorch: their state and settings by the names of its distributed checkpoints, in and out.

use super::Optimizer;
use super::saved::torch_name;
use super::stepper::Stepper;
use crate::checkpoint::{Dtype, Element, STEPS, StoredTensor, Tensors};
use crate::error::{Error, Result};
use crate::plan::{Program, Tensor};
use crate::rule::Setting;
use serde_json::Value;
use std::collections::BTreeMap;

impl<P: Program> Optimizer<P>
where
    P::Float: Element,
{
    /// Goes on where another program was: parameters, state and settings of one lane, by the names that PyTorch's distributed
    /// checkpoints give them, flat: `param.w`, `state.w.exp_avg`, `state.w.step`, `param_groups.w.lr`.
    /// `tests/golden/checkpoint/torch_state.py` makes such a file of a `torch.optim` optimizer.
    ///
    /// A parameter that is not there stays. Of the state of a tensor all planes have to be there, and `step` has to be the same
    /// for all tensors of a group; SGD, which counts no steps in PyTorch, need not have it: 1 is taken where there is a
    /// momentum. Settings that are there are taken, unless a schedule sets them here; what is no number has to be as it is
    /// here. Everything else stays: averages, the loss scale. All is checked before anything changes.
    ///
    /// # Errors
    /// Tensors of the state that are missing or of another shape or type; steps or settings that differ within a group;
    /// settings of another kernel, such as `amsgrad`; several lanes; a lost device.
    pub fn import(&mut self, tensors: &Tensors) -> Result<()> {
        if self.lanes() != 1 {
            return Err(Error::shape("lanes of an optimizer that imports", 1, self.lanes()));
        }
        let all: Vec<Tensor> = self.arena().tensors().to_vec();
        let found = all.iter().map(|tensor| self.imported(tensor, tensors)).collect::<Result<Vec<_>>>()?;
        let mut first: BTreeMap<usize, (u64, &str)> = BTreeMap::new();
        for (tensor, imported) in all.iter().zip(&found) {
            let &mut (steps, other) = first.entry(tensor.group).or_insert((imported.step, &tensor.name));
            if steps != imported.step {
                let expected = format!("{steps}, as '{other}' has");
                return Err(Error::shape(format!("steps of '{}'", tensor.name), expected, imported.step));
            }
        }
        self.stepper = self.with_settings(&all, tensors)?;
        for (tensor, Imported { params, planes, .. }) in all.iter().zip(&found) {
            if let Some(params) = params {
                self.lane(0)?.set_params(&tensor.name, params)?;
            }
            planes.iter().try_for_each(|(plane, values)| self.lane(0)?.set_state(&tensor.name, plane, values))?;
        }
        let steps: Vec<(String, u64)> =
            first.iter().map(|(&group, &(steps, _))| (self.stepper.recipe.groups[group].name.clone(), steps)).collect();
        steps.into_iter().try_for_each(|(group, steps)| self.lane(0)?.set_applied(&group, steps))
    }

    /// Parameters, state and settings of a lane as [`Optimizer::import`] takes them, for
    /// `torch.distributed.checkpoint.state_dict.set_optimizer_state_dict` or for `from_flat` of
    /// tests/golden/checkpoint/torch_state.py.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn export(&mut self, lane: usize) -> Result<Tensors> {
        let mut file = Tensors::default();
        self.stepper.check_lane(lane)?;
        self.stepper.know(&mut self.program)?;
        for tensor in self.arena().tensors().to_vec() {
            let params = self.lane(lane)?.params(&tensor.name)?;
            self.export_known(lane, &tensor, &params, &mut file)?;
            for plane in self.planes_of(&tensor) {
                let values = self.lane(lane)?.state(&tensor.name, &plane.own)?;
                file.put(&plane.file_name(&tensor), &plane.shape, &values)?;
            }
        }
        Ok(file)
    }

    /// Parameters, steps and settings of a tensor.
    pub(super) fn export_known(&self, lane: usize, tensor: &Tensor, params: &[P::Float], file: &mut Tensors) -> Result<()> {
        let (name, groups) = (&tensor.name, self.stepper.recipe.groups.len());
        file.put(&format!("param.{name}"), &tensor.shape, params)?;
        let steps = self.stepper.applied[lane * groups + tensor.group];
        file.put(&format!("state.{name}.step"), &[], &[steps as f32])?;
        self.export_settings(lane, tensor, file)
    }

    fn export_settings(&self, lane: usize, tensor: &Tensor, file: &mut Tensors) -> Result<()> {
        let mut rule = self.stepper.recipe.rule(lane, tensor.group).boxed();
        let known = rule.settings();
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let mut numbers: BTreeMap<&str, f64> = BTreeMap::new();
        for (setting, value) in known {
            let name = format!("param_groups.{}.{setting}", tensor.name);
            match value {
                Setting::Number(&mut value) => drop(numbers.insert(setting, value)),
                Setting::Flag(&mut flag) => {
                    file.insert(&name, StoredTensor::new(&name, Dtype::Bool, &[], vec![flag.into()])?)?
                }
                Setting::Fixed(_) => {}
            }
        }
        for (pair, parts) in pairs(&names) {
            let both: Vec<f64> = parts.iter().filter_map(|part| numbers.remove(part)).collect();
            file.put(&format!("param_groups.{}.{pair}", tensor.name), &[both.len()], &both)?;
        }
        for (setting, value) in numbers {
            file.put(&format!("param_groups.{}.{setting}", tensor.name), &[], &[value])?;
        }
        Ok(())
    }

    /// What a file of another program has for a tensor.
    fn imported(&self, tensor: &Tensor, file: &Tensors) -> Result<Imported<P::Float>> {
        let name = &tensor.name;
        let of = |name: &str, shape: &[usize]| {
            let found = file.tensor(name)?;
            if found.shape != shape {
                let [expected, found] = [shape, &found.shape].map(|shape| format!("{shape:?}"));
                return Err(Error::shape(format!("tensor '{name}'"), expected, found));
            }
            file.get::<P::Float>(name)
        };
        let params = format!("param.{name}");
        let params = file.find(&params).map(|_| of(&params, &tensor.shape)).transpose()?;
        let step = self.step_of(tensor, file)?;
        let plane = |Plane { own, torch, shape }: Plane| {
            let values = of(&format!("state.{name}.{torch}"), &shape)?;
            Ok((own, values))
        };
        let planes = self.planes_of(tensor).into_iter().map(plane).collect::<Result<_>>()?;
        Ok(Imported { params, planes, step })
    }
}

/// Settings that PyTorch has as one of several numbers.
const PAIRS: &[(&str, &[&str])] = &[
    ("betas", &["beta1", "beta2"]),
    ("etas", &["eta_minus", "eta_plus"]),
    ("step_sizes", &["step_min", "step_max"]),
    ("eps", &["eps1", "eps2"]),
];

/// The pairs of a rule with these settings.
fn pairs<'a>(known: &'a [&str]) -> impl Iterator<Item = &'static (&'static str, &'static [&'static str])> + 'a {
    PAIRS.iter().filter(|(_, parts)| parts.iter().all(|part| known.contains(part)))
}

/// What is kept of a tensor: our name, PyTorch's, and the shape.
pub(super) struct Plane {
    pub own: String,
    torch: String,
    pub shape: Vec<usize>,
}

impl Plane {
    pub(super) fn file_name(&self, tensor: &Tensor) -> String {
        format!("state.{}.{}", tensor.name, self.torch)
    }
}

/// Settings that are about how PyTorch computes; there is nothing here that they would set.
const HOW: [&str; 6] = ["foreach", "fused", "capturable", "differentiable", "initial_lr", "params"];

/// What a file of another program has for a tensor.
struct Imported<F> {
    params: Option<Vec<F>>,
    planes: Vec<(String, Vec<F>)>,
    step: u64,
}

impl<P: Program> Optimizer<P> {
    /// The planes that a tensor's rule uses, each with PyTorch's name.
    pub(super) fn planes_of(&self, tensor: &Tensor) -> Vec<Plane> {
        let rule = self.rule_of(tensor).name();
        let plane = |(own, shape): (String, _)| Plane { torch: torch_name(rule, &own).into(), own, shape };
        self.stepper.states_of(tensor).into_iter().map(plane).collect()
    }

    /// Steps of a tensor: `state.w.step`, or of a file of our own its text; none for SGD of PyTorch.
    fn step_of(&self, tensor: &Tensor, file: &Tensors) -> Result<u64> {
        let name = format!("state.{}.step", tensor.name);
        let text = file.texts.get(STEPS).and_then(|text| serde_json::from_str::<Value>(text).ok());
        let told = text.and_then(|steps| steps.get(&tensor.name).and_then(Value::as_u64));
        let found = match (file.find(&name), told) {
            (Some(found), _) => found,
            (None, Some(told)) => return Ok(told),
            (None, None) if self.rule_of(tensor).name() == "sgd" => return Ok((!self.planes_of(tensor).is_empty()).into()),
            (None, None) => file.tensor(&name)?,
        };
        let steps: Vec<f64> = found.numbers().collect();
        match steps[..] {
            [steps] if steps >= 0.0 && steps.fract() == 0.0 => Ok(steps as u64),
            _ => Err(Error::setting(&name, format!("{steps:?}"), "a whole number of at least 0")),
        }
    }

    /// The stepper with the settings of a file.
    fn with_settings(&self, all: &[Tensor], file: &Tensors) -> Result<Stepper> {
        let mut stepper = self.stepper.clone();
        let mut taken: BTreeMap<(usize, String), (f64, &str)> = BTreeMap::new();
        for tensor in all {
            let mut rule = self.rule_of(tensor).boxed();
            let known: Vec<&str> = rule.settings().into_iter().map(|(name, _)| name).collect();
            for (setting, value) in settings(&tensor.name, &known, file)? {
                let &mut (first, other) = taken.entry((tensor.group, setting.clone())).or_insert((value, &tensor.name));
                if first.to_bits() != value.to_bits() {
                    let expected = format!("{first}, as '{other}' of the same group has");
                    return Err(Error::shape(format!("{setting} of '{}'", tensor.name), expected, value));
                }
            }
        }
        for ((group, setting), (value, _)) in taken {
            take(&mut stepper, group, &setting, value)?;
        }
        Ok(stepper)
    }
}

/// The settings of a tensor in a file, pairs as two; `known` are those of its rule.
fn settings(tensor: &str, known: &[&str], file: &Tensors) -> Result<Vec<(String, f64)>> {
    let prefix = format!("param_groups.{tensor}.");
    let mut all = Vec::new();
    for (name, values) in file.iter() {
        let Some(setting) = name.strip_prefix(&prefix).filter(|setting| !HOW.contains(setting)) else { continue };
        let pair = pairs(known).find(|(pair, _)| *pair == setting).map(|(_, parts)| *parts);
        let alone = [setting];
        let parts = pair.unwrap_or(&alone);
        if values.len() != parts.len() {
            return Err(Error::shape(format!("'{name}'"), format!("{} numbers", parts.len()), values.len()));
        }
        all.extend(parts.iter().zip(values.numbers()).map(|(part, value)| (part.to_string(), value)));
    }
    Ok(all)
}

/// Takes a setting of PyTorch over, or finds that it is the same.
fn take(stepper: &mut Stepper, group: usize, setting: &str, value: f64) -> Result<()> {
    let mut rule = stepper.recipe.rule(0, group).boxed();
    let rule_name = rule.name();
    let initial = rule.initial_settings().contains(&setting);
    let own = rule.settings().into_iter().find(|(name, _)| *name == setting).map(|(_, own)| own);
    let flag = |own: bool| {
        if f64::from(u8::from(own)) == value {
            Ok(())
        } else {
            Err(Error::shape(format!("{setting} of the file"), own, value != 0.0))
        }
    };
    match own {
        Some(Setting::Number(own)) if own.to_bits() == value.to_bits() => Ok(()),
        Some(Setting::Number(_)) if initial => Ok(()),
        Some(Setting::Number(_)) => {
            let group = stepper.recipe.groups[group].name.clone();
            if stepper.recipe.setter(&group, setting).is_some() { Ok(()) } else { stepper.set(0, &group, setting, value) }
        }
        Some(Setting::Flag(own)) => flag(*own),
        Some(Setting::Fixed(_)) => {
            Err(Error::conflict(format!("{setting} = {value}"), "a recorded plan", format!("{setting} is part of it")))
        }
        // PyTorch's AdamW has this setting too: its decay is always decoupled.
        None if setting == "decoupled_weight_decay" => flag(rule_name == "adamw"),
        None if value == 0.0 => Ok(()),
        None => {
            let mut rule = rule;
            let known: Vec<&str> = rule.settings().into_iter().map(|(name, _)| name).collect();
            Err(Error::unknown(&format!("setting of {rule_name}"), setting, &known))
        }
    }
}
