//! States of optimizers in files, with the names that PyTorch gives to what they hold.

use super::Optimizer;
use super::group::Group;
use super::state::{APPLIED, State, StateArray, StateValues};
use crate::checkpoint::{Element, Tensors, read, write};
use crate::error::{Error, Result};
use crate::plan::{Program, Tensor};
use crate::rule::AnyRule;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The names that PyTorch gives to planes, by rule; those of the others stay as they are.
const NAMES: &[(&str, &[(&str, &str)])] = &[
    ("sgd", &[("b", "momentum_buffer")]),
    ("adam", MOMENTS),
    ("adamw", MOMENTS),
    ("nadam", MOMENTS),
    ("radam", MOMENTS),
    ("adamax", &[("m", "exp_avg"), ("u", "exp_inf")]),
    ("adadelta", &[("q", "square_avg"), ("a", "acc_delta")]),
    ("rmsprop", &[("q", "square_avg"), ("a", "grad_avg"), ("b", "momentum_buffer")]),
    ("rprop", &[("step", "step_size")]),
    ("adafactor", &[("v", "variance")]),
    ("muon", &[("m", "momentum_buffer")]),
    ("lars", &[("b", "momentum_buffer")]),
    ("lamb", MOMENTS),
    ("lion", &[("m", "exp_avg")]),
    ("adan", &[("m", "exp_avg"), ("v", "exp_avg_sq"), ("e", "exp_avg_diff"), ("prev", "neg_pre_grad")]),
];

const MOMENTS: &[(&str, &str)] = &[("m", "exp_avg"), ("v", "exp_avg_sq"), ("w", "max_exp_avg_sq")];

/// What PyTorch calls a plane of a rule.
fn torch_name<'a>(rule: &str, plane: &'a str) -> &'a str {
    let names = NAMES.iter().find(|(name, _)| *name == rule).map_or(&[][..], |(_, names)| names);
    names.iter().find(|(own, _)| *own == plane).map_or(plane, |(_, torch)| torch)
}

/// The texts of a file that say what its tensors are of.
const RULES: &str = "rules";
const LANES: &str = "lanes";
const STEPS: &str = "steps";

impl<P: Program> Optimizer<P>
where
    P::Float: Element,
{
    /// [`Optimizer::state_dict`] as tensors for a file. Names are PyTorch's: `param.w`, `state.w.exp_avg`. With several lanes these are
    /// the outermost dimension of every tensor; with one lane there is no such dimension.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn tensors(&mut self) -> Result<Tensors> {
        let state = self.state_dict()?;
        let lanes = self.lanes();
        let mut tensors = Tensors::default();
        for (name, array) in state.iter() {
            let shape: Vec<usize> = (lanes > 1).then_some(lanes).into_iter().chain(array.shape.iter().copied()).collect();
            let name = self.file_name(name);
            match &array.values {
                StateValues::Floats(values) => tensors.put(&name, &shape, &values.concat())?,
                StateValues::Indices(values) => tensors.put(&name, &shape, &values.concat())?,
                StateValues::Counts(values) => tensors.put(&name, &shape, &values.concat())?,
                StateValues::Numbers(values) => tensors.put(&name, &shape, &values.concat())?,
            }
        }
        tensors.texts.insert(RULES.into(), self.rules_text());
        tensors.texts.insert(LANES.into(), lanes.to_string());
        let applied = match state.get(APPLIED).map(|array| &array.values) {
            Some(StateValues::Counts(applied)) => applied.first().cloned().unwrap_or_default(),
            _ => Vec::new(),
        };
        tensors.texts.insert(STEPS.into(), self.steps_text(&applied));
        Ok(tensors)
    }

    /// Takes a run up from what [`Optimizer::tensors`] gave, as [`Optimizer::load_state_dict`] does. All is checked before anything
    /// changes.
    ///
    /// # Errors
    /// Another rule, tensors that are missing, unknown, of another shape, type or number of lanes, each by its name; or as for
    /// [`Optimizer::load_state_dict`].
    pub fn load_tensors(&mut self, tensors: &Tensors) -> Result<()> {
        let (rules, lanes) = (self.rules_text(), self.lanes().to_string());
        for (key, what, expected) in [(RULES, "the rules of the file", rules), (LANES, "lanes of the file", lanes)] {
            if let Some(found) = tensors.texts.get(key).filter(|found| **found != expected) {
                return Err(Error::shape(what, expected, found));
            }
        }
        let own = self.state_dict()?;
        let mut state = State::default();
        let mut known = BTreeSet::new();
        for (name, array) in own.iter() {
            let file_name = self.file_name(name);
            let values = self.values_like(array, tensors, &file_name)?;
            state.insert(name, StateArray { shape: array.shape.clone(), values });
            known.insert(file_name);
        }
        if let Some((unknown, _)) = tensors.iter().find(|(name, _)| !known.contains(*name)) {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(Error::unknown("tensor of the file", unknown, &known));
        }
        self.load_state_dict(&state)
    }

    /// Writes the whole state into a file: see [`crate::checkpoint`]. A run that loads it goes on with the same bits.
    ///
    /// # Errors
    /// [`Error::File`], or as for [`Optimizer::tensors`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let new = || Optimizer::new(&Cpu::<f32>::default(), Recipe::new(AdamW::default()), &[("w", &[2, 2])]);
    /// let mut first = new()?;
    /// first.set_grads("w", &[1.0, 2.0, 3.0, 4.0])?;
    /// first.steps(10)?;
    /// let file = std::env::temp_dir().join(format!("adamw-{}.safetensors", std::process::id()));
    /// first.save_file(&file)?;
    ///
    /// let mut second = new()?;
    /// second.load_file(&file)?;
    /// assert_eq!(second.params("w")?, first.params("w")?);
    /// assert_eq!(second.report()?.applied, 10);
    /// # std::fs::remove_file(file).unwrap();
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn save_file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let tensors = self.tensors()?;
        write(path.as_ref(), &tensors)
    }

    /// Takes a run up from a file that [`Optimizer::save_file`] has written, by an optimizer of the same recipe, tensors and lanes, on an
    /// engine of the same float type.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Damaged`] as for [`read`], or as for [`Optimizer::load_tensors`]. Nothing is changed then.
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let tensors = read(path.as_ref())?;
        self.load_tensors(&tensors)
    }

    /// Goes on where another program was: parameters and state of one lane, by PyTorch's names (`param.w`, `state.w.exp_avg`,
    /// `state.w.step`). tests/golden/checkpoint/torch_state.py makes such a file of a `torch.optim` optimizer. Everything else stays as it
    /// is: settings, averages, the loss scale.
    ///
    /// A parameter that is not there stays. Of the state of a tensor all planes have to be there, and `step` has to be the same for all
    /// tensors of a group. All is checked before anything changes.
    ///
    /// # Errors
    /// Tensors of the state that are missing or of another shape or type; steps that differ; several lanes; a lost device.
    pub fn import(&mut self, tensors: &Tensors) -> Result<()> {
        if self.lanes() != 1 {
            return Err(Error::shape("lanes of an optimizer that imports", 1, self.lanes()));
        }
        let found = self.imported(tensors)?;
        for Imported { tensor, params, planes, .. } in &found {
            if let Some(params) = params {
                self.set_params(tensor, params)?;
            }
            planes.iter().try_for_each(|(plane, values)| self.set_state(tensor, plane, values))?;
        }
        let steps: BTreeMap<&str, u64> = found.iter().map(|imported| (&*imported.group, imported.step)).collect();
        steps.into_iter().try_for_each(|(group, steps)| self.set_applied(group, steps))
    }

    /// What a file of another program has for each tensor.
    fn imported(&mut self, tensors: &Tensors) -> Result<Vec<Imported<P::Float>>> {
        let (mut all, mut first) = (Vec::new(), BTreeMap::new());
        for (tensor, shape, group, planes) in self.states_of_tensors() {
            let of = |name: &str, shape: &[usize]| {
                let found = tensors.tensor(name)?;
                if found.shape != shape {
                    return Err(Error::shape(format!("tensor '{name}'"), format!("{shape:?}"), format!("{:?}", found.shape)));
                }
                tensors.get::<P::Float>(name)
            };
            let params = format!("param.{tensor}");
            let params = tensors.tensor(&params).is_ok().then(|| of(&params, &shape)).transpose()?;
            let step = step(tensors, &format!("state.{tensor}.step"))?;
            let plane = |(own, torch): &(String, String)| Ok((own.clone(), of(&format!("state.{tensor}.{torch}"), &shape)?));
            let planes = planes.iter().map(plane).collect::<Result<_>>()?;
            let (steps, other) = first.entry(group.clone()).or_insert_with(|| (step, tensor.clone()));
            if *steps != step {
                return Err(Error::shape(format!("steps of '{tensor}'"), format!("{steps}, as '{other}' has"), step));
            }
            all.push(Imported { tensor, group, params, planes, step });
        }
        Ok(all)
    }

    /// A tensor's values where they are laid out as those of an array of the state.
    fn values_like(&self, like: &StateArray<P::Float>, tensors: &Tensors, name: &str) -> Result<StateValues<P::Float>> {
        let lanes = self.lanes();
        let shape: Vec<usize> = (lanes > 1).then_some(lanes).into_iter().chain(like.shape.iter().copied()).collect();
        let found = tensors.tensor(name)?;
        if found.shape != shape {
            return Err(Error::shape(
                format!("tensor '{name}' of the file"),
                format!("shape {shape:?}"),
                format!("shape {:?}", found.shape),
            ));
        }
        fn by_lane<T: Clone>(values: Vec<T>, lanes: usize) -> Vec<Vec<T>> {
            let len = values.len() / lanes;
            if len == 0 { vec![Vec::new(); lanes] } else { values.chunks(len).map(<[T]>::to_vec).collect() }
        }
        Ok(match like.values {
            StateValues::Floats(_) => StateValues::Floats(by_lane(tensors.get(name)?, lanes)),
            StateValues::Indices(_) => StateValues::Indices(by_lane(tensors.get(name)?, lanes)),
            StateValues::Counts(_) => StateValues::Counts(by_lane(tensors.get(name)?, lanes)),
            StateValues::Numbers(_) => StateValues::Numbers(by_lane(tensors.get(name)?, lanes)),
        })
    }
}

/// What the state of a tensor is called: its name, its shape, its group, and its planes with PyTorch's names.
type StateOf = (String, Vec<usize>, String, Vec<(String, String)>);

/// What a file of another program has for a tensor.
struct Imported<F> {
    tensor: String,
    group: String,
    params: Option<Vec<F>>,
    planes: Vec<(String, Vec<F>)>,
    step: u64,
}

/// PyTorch counts in floats, elsewhere whole numbers are usual.
fn step(tensors: &Tensors, name: &str) -> Result<u64> {
    let whole = tensors.get::<i64>(name).map(|step| step.first().map(|&step| step as f64));
    let float = || tensors.get::<f32>(name).map(|step| step.first().map(|&step| f64::from(step)));
    match whole.or_else(|_| float())? {
        Some(step) if step >= 0.0 && step.fract() == 0.0 => Ok(step as u64),
        found => Err(Error::setting(name, format!("{found:?}"), "a whole number of at least 0")),
    }
}

impl<P: Program> Optimizer<P> {
    fn lanes(&self) -> usize {
        self.stepper.recipe.lanes()
    }

    /// The rule of a tensor, which is the same in all lanes but for its numbers.
    fn rule_of(&self, tensor: &Tensor) -> &dyn AnyRule {
        self.stepper.recipe.rule(0, tensor.group)
    }

    /// What an array of the state is called in a file.
    fn file_name(&self, name: &str) -> String {
        let part = name.strip_prefix("state.").and_then(|rest| rest.rsplit_once('.'));
        let known = part.and_then(|(tensor, plane)| Some((self.arena().tensor(tensor).ok()?, plane)));
        match known {
            Some((tensor, plane)) => format!("state.{}.{}", tensor.name, torch_name(self.rule_of(tensor).name(), plane)),
            None => name.into(),
        }
    }

    /// The rule of each group.
    fn rules_text(&self) -> String {
        let rule = |(index, group): (usize, &Group)| format!("{}: {}", group.name, self.stepper.recipe.rule(0, index).name());
        self.stepper.recipe.groups.iter().enumerate().map(rule).collect::<Vec<_>>().join(", ")
    }

    /// The applied steps of each tensor's group in the first lane, as JSON: PyTorch keeps them per tensor.
    fn steps_text(&self, applied: &[u64]) -> String {
        let steps = |tensor: &Tensor| (tensor.name.clone(), json!(applied.get(tensor.group).copied().unwrap_or(0)));
        Value::Object(self.arena().tensors().iter().map(steps).collect()).to_string()
    }

    /// Of each tensor its name, shape, group, and the planes that its rule uses, each with PyTorch's name.
    fn states_of_tensors(&self) -> Vec<StateOf> {
        let of = |tensor: &Tensor| {
            let rule = self.rule_of(tensor);
            let plane = |plane: usize| {
                let own = rule.state_names()[plane];
                (own.to_string(), torch_name(rule.name(), own).to_string())
            };
            let planes = rule.planes().into_iter().map(plane).collect();
            (tensor.name.clone(), tensor.shape.clone(), self.stepper.recipe.groups[tensor.group].name.clone(), planes)
        };
        self.arena().tensors().iter().map(of).collect()
    }
}
