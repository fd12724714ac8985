//! States of optimizers in files, with the names that PyTorch gives to what they hold.

use super::Optimizer;
use super::fresh::Placed;
use super::group::Group;
use super::pieces::Piece;
use super::snapshot::APPLIED;
use super::state::{Expected, State, StateValues};
use super::view::{ArrayView, StateKind, StateView, ValuesView};
use crate::checkpoint::{Element, LANES, Loaded, STEPS, StoredTensor, Tensors, swap, write};
use crate::error::{Error, Result};
use crate::plan::{BufferId, Program, Reading, Tensor};
use crate::rule::AnyRule;
use serde_json::{Value, json};
use std::borrow::Cow;
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
pub(super) fn torch_name<'a>(rule: &str, plane: &'a str) -> &'a str {
    let names = NAMES.iter().find(|(name, _)| *name == rule).map_or(&[][..], |(_, names)| names);
    names.iter().find(|(own, _)| *own == plane).map_or(plane, |(_, torch)| torch)
}

/// The text of a file that says which rules its state is of.
pub(crate) const RULES: &str = "rules";
/// What its settings follow, a line each, for people.
const SCHEDULES: &str = "schedules";
/// What begins the name of a tensor's parameters.
pub(super) const PARAM: &str = "param.";
/// Arrays of measured values. Norm and loss of a bad step are not finite, so that is not told of these arrays.
const MEASURED: [&str; 2] = ["scalars", "trainer.tally"];

/// Whether it is told that an array has values that are not finite.
fn tells_not_finite(expected: &Expected) -> bool {
    expected.kind == StateKind::Floats && !MEASURED.contains(&&*expected.name)
}

impl<F: Element> StateValues<F> {
    /// Puts the values of all lanes into tensors, as one.
    pub(crate) fn put(&self, tensors: &mut Tensors, name: &str, shape: &[usize]) -> Result<()> {
        match self {
            Self::Floats(lanes) => tensors.put_parts(name, shape, lanes),
            Self::Indices(lanes) => tensors.put_parts(name, shape, lanes),
            Self::Counts(lanes) => tensors.put_parts(name, shape, lanes),
            Self::Numbers(lanes) => tensors.put_parts(name, shape, lanes),
        }
    }
}

impl<P: Program> Optimizer<P>
where
    P::Float: Element,
{
    /// [`Optimizer::state_dict`] as tensors for a file. Names are PyTorch's: `param.w`, `state.w.exp_avg`. With several lanes
    /// these are the outermost dimension of every tensor; with one lane there is no such dimension. Texts say the rules, the
    /// schedules, the applied steps of each tensor, the lanes, and the engine and adapter that it was on.
    ///
    /// # Errors
    /// A lost device, or memory that there is not.
    pub fn tensors(&mut self) -> Result<Tensors> {
        let mut tensors = Tensors::default();
        self.tensors_into(&mut tensors)?;
        Ok(tensors)
    }

    /// [`Optimizer::tensors`] in the place of tensors that are no longer needed, such as those of an earlier checkpoint
    /// ([`Saver::spare`](crate::checkpoint::Saver::spare)). Their memory is used again where name and size are the same: fresh
    /// memory takes the system longer than copying takes. After an error there are no tensors.
    ///
    /// # Errors
    /// As for [`Optimizer::tensors`].
    pub fn tensors_into(&mut self, tensors: &mut Tensors) -> Result<()> {
        self.tensors_beside(State::default(), |_| true, tensors)
    }

    /// [`Optimizer::tensors_into`] with arrays of others beside, and of the buffers of floats only those that are `wanted`.
    pub(crate) fn tensors_beside(
        &mut self,
        beside: State<P::Float>,
        wanted: impl Fn(BufferId) -> bool,
        tensors: &mut Tensors,
    ) -> Result<()> {
        let mut old = std::mem::take(tensors);
        let mut pieces = self.stepper.float_pieces();
        let read_so: Vec<BufferId> = pieces.iter().map(|(id, _)| *id).collect();
        let rest = self.stepper.snapshot_but(&mut self.program, &read_so)?;
        pieces.retain(|(id, _)| wanted(*id));
        let mut found = self.rooms(&pieces, &mut old)?;
        self.program.read_parts(&mut self.readings(&pieces, &mut found))?;
        self.put_all(found, rest, beside, tensors)
    }

    /// Puts what was read into tensors, with all else of the state and what others have beside it.
    pub(super) fn put_all(
        &self,
        found: Vec<(String, StoredTensor)>,
        rest: State<P::Float>,
        beside: State<P::Float>,
        tensors: &mut Tensors,
    ) -> Result<()> {
        for (name, mut tensor) in found {
            swap(&mut tensor.bytes, size_of::<P::Float>());
            tensors.insert(&name, tensor)?;
        }
        let applied = match rest.get(APPLIED).map(|array| &array.values) {
            Some(StateValues::Counts(applied)) => applied.clone(),
            _ => Vec::new(),
        };
        for (name, array) in rest.into_arrays().chain(beside.into_arrays()) {
            let (name, shape) = (self.file_name(&name), self.file_shape(&array.shape));
            array.values.put(tensors, &name, &shape)?;
        }
        tensors.texts.insert(RULES.into(), self.rules_text());
        tensors.texts.insert(LANES.into(), self.lanes().to_string());
        tensors.texts.insert(STEPS.into(), self.steps_text(&applied));
        let followers: Vec<String> = self.stepper.recipe.schedules.iter().map(ToString::to_string).collect();
        if !followers.is_empty() {
            tensors.texts.insert(SCHEDULES.into(), followers.join("\n"));
        }
        let machine = self.program.machine();
        tensors.put_machine(machine.engine, &machine.adapter);
        Ok(())
    }

    /// Tensors for pieces of buffers, to be read into: one copy, from the engine to where the file is written from.
    pub(super) fn rooms(&self, pieces: &[(BufferId, Vec<Piece>)], old: &mut Tensors) -> Result<Vec<(String, StoredTensor)>> {
        let room = |piece: &Piece| {
            let name = self.file_name(&piece.name);
            let tensor = old.room::<P::Float>(&name, &self.file_shape(&piece.shape))?;
            Ok((name, tensor))
        };
        pieces.iter().flat_map(|(_, pieces)| pieces).map(room).collect()
    }

    /// What is to be read into the tensors that [`Optimizer::rooms`] gave.
    pub(super) fn readings<'a>(
        &self,
        pieces: &[(BufferId, Vec<Piece>)],
        found: &'a mut [(String, StoredTensor)],
    ) -> Vec<Reading<'a, P::Float>> {
        let all = pieces.iter().flat_map(|(id, pieces)| pieces.iter().map(move |piece| (*id, piece)));
        let mut readings = Vec::new();
        for ((buffer, piece), (_, tensor)) in all.zip(found) {
            let values: &mut [P::Float] = bytemuck::cast_slice_mut(&mut tensor.bytes);
            let by_lane = values.chunks_mut(piece.range.len().max(1)).take(self.lanes()).enumerate();
            readings.extend(by_lane.map(|(lane, values)| Reading { buffer, lane, offset: piece.range.start, values }));
        }
        readings
    }

    /// Takes a run up from what [`Optimizer::tensors`] gave, as [`Optimizer::load_state_dict`] does. All is checked before
    /// anything changes. Values that are not finite are loaded; what comes back says where they are, and so does a warning by
    /// the crate `log`.
    ///
    /// # Errors
    /// Another rule, tensors that are missing, unknown, of another shape, type or number of lanes, each by its name; or as for
    /// [`Optimizer::load_state_dict`].
    pub fn load_tensors(&mut self, tensors: &Tensors) -> Result<Loaded> {
        let (state, loaded) = self.state_of(self.expected(), tensors, |_| false)?;
        self.load_view(&state, &[])?;
        loaded.warn();
        Ok(loaded)
    }

    /// What is expected, out of a file that has nothing else but what may be passed over.
    pub(crate) fn state_of<'a>(
        &self,
        expected: Vec<Expected>,
        tensors: &'a Tensors,
        passed_over: impl Fn(&str) -> bool,
    ) -> Result<(StateView<'a, P::Float>, Loaded)> {
        self.state_beside(expected, tensors, &BTreeMap::new(), passed_over)
    }

    /// [`Optimizer::state_of`] a file of which some tensors were `placed` elsewhere.
    pub(super) fn state_beside<'a>(
        &self,
        mut expected: Vec<Expected>,
        tensors: &'a Tensors,
        placed: &BTreeMap<String, Placed<'a, P::Float>>,
        passed_over: impl Fn(&str) -> bool,
    ) -> Result<(StateView<'a, P::Float>, Loaded)> {
        self.check_texts(tensors)?;
        expected.sort_by(|one, other| one.name.cmp(&other.name));
        let (mut state, mut loaded) = (StateView::default(), Loaded::default());
        for expected in expected {
            let name = self.file_name(&expected.name);
            let Some(placed) = placed.get(&name) else {
                if tensors.find(&name).is_none() {
                    let there = tensors.iter().map(|(name, _)| name).chain(placed.keys().map(String::as_str));
                    let there: BTreeSet<&str> = there.collect();
                    return Err(Error::no_tensor("the file", &name, &Vec::from_iter(there)));
                }
                state.insert(&expected.name, self.array(&expected, tensors)?);
                self.note(&expected, tensors, &mut loaded);
                continue;
            };
            state.insert(&expected.name, placed.array(&expected.shape));
            loaded.add(name, placed.first_not_finite().filter(|_| tells_not_finite(&expected)));
        }
        let known: BTreeSet<&str> = loaded.loaded.iter().map(String::as_str).collect();
        if let Some((unknown, _)) = tensors.iter().find(|(name, _)| !known.contains(name) && !passed_over(name)) {
            let known: Vec<&str> = known.into_iter().collect();
            return Err(Error::unknown("tensor of the file", unknown, &known));
        }
        Ok((state, loaded))
    }

    /// What a file has to have.
    pub(crate) fn expected(&self) -> Vec<Expected> {
        self.stepper.expected()
    }

    /// Whether the file is of the same rules and as many lanes.
    pub(super) fn check_texts(&self, tensors: &Tensors) -> Result<()> {
        let (rules, lanes) = (self.rules_text(), self.lanes().to_string());
        for (key, what, expected) in [(RULES, "the rules of the file", rules), (LANES, "lanes of the file", lanes)] {
            if let Some(found) = tensors.texts.get(key).filter(|found| **found != expected) {
                return Err(Error::shape(what, expected, found));
            }
        }
        Ok(())
    }

    pub(crate) fn note(&self, expected: &Expected, tensors: &Tensors, loaded: &mut Loaded) {
        let name = self.file_name(&expected.name);
        let first = tensors.find(&name).and_then(|tensor| tensor.first_not_finite());
        loaded.add(name, first.filter(|_| tells_not_finite(expected)));
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
        write(path, &tensors)
    }

    /// Takes a run up from a file that [`Optimizer::save_file`] has written, by an optimizer of the same rules, tensors and
    /// lanes, on an engine of the same float type. Settings of the rules, such as `lr`, are those of the file; set them after
    /// loading to change them. All else of the recipe, such as clipping and storage, stays, and the bits are those of the run
    /// only where it is the same. Gradients are not loaded: set them before the next step. Values that are not finite are
    /// loaded, and [`Loaded::not_finite`] and a warning by the crate `log` say where they are.
    ///
    /// What fits of another file is taken by [`Optimizer::load_tensors_lenient`]; weights of PyTorch by
    /// [`Optimizer::load_weights`].
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Damaged`] as for [`read`](crate::checkpoint::read), or as for [`Optimizer::load_tensors`].
    /// Nothing is changed then. Instead of a damaged file take an older one:
    /// [`Folder::newest`](crate::checkpoint::Folder::newest) passes over those that are damaged.
    pub fn load_file(&mut self, path: impl AsRef<Path>) -> Result<Loaded> {
        let loaded = self.load_fresh(path.as_ref())?;
        loaded.warn();
        Ok(loaded)
    }

    /// An array of the state out of a file.
    pub(super) fn array<'a>(&self, expected: &Expected, tensors: &'a Tensors) -> Result<ArrayView<'a, P::Float>> {
        let (lanes, name) = (self.lanes(), self.file_name(&expected.name));
        let (shape, found) = (self.file_shape(&expected.shape), tensors.tensor(&name)?);
        if found.shape != shape {
            let [expected, found] = [&shape, &found.shape].map(|shape| format!("shape {shape:?}"));
            return Err(Error::shape(format!("tensor '{name}' of the file"), expected, found));
        }
        fn by_lane<T: Clone>(values: Cow<'_, [T]>, lanes: usize) -> Vec<Cow<'_, [T]>> {
            let len = values.len() / lanes;
            match values {
                Cow::Borrowed(values) => (0..lanes).map(|lane| Cow::Borrowed(&values[lane * len..][..len])).collect(),
                Cow::Owned(values) => (0..lanes).map(|lane| Cow::Owned(values[lane * len..][..len].to_vec())).collect(),
            }
        }
        let values = match expected.kind {
            StateKind::Floats => ValuesView::Floats(by_lane(tensors.view(&name)?, lanes)),
            StateKind::Indices => ValuesView::Indices(by_lane(tensors.view(&name)?, lanes)),
            StateKind::Counts => ValuesView::Counts(by_lane(tensors.view(&name)?, lanes)),
            StateKind::Numbers => ValuesView::Numbers(by_lane(tensors.view(&name)?, lanes)),
        };
        Ok(ArrayView { shape: expected.shape.clone(), values })
    }
}

impl<P: Program> Optimizer<P> {
    pub(super) fn lanes(&self) -> usize {
        self.stepper.recipe.lanes()
    }

    /// Several lanes are a dimension of their own, the outermost.
    pub(super) fn file_shape(&self, shape: &[usize]) -> Vec<usize> {
        let lanes = self.lanes();
        (lanes > 1).then_some(lanes).into_iter().chain(shape.iter().copied()).collect()
    }

    /// The rule of a tensor, which is the same in all lanes but for its numbers.
    pub(super) fn rule_of(&self, tensor: &Tensor) -> &dyn AnyRule {
        self.stepper.recipe.rule(0, tensor.group)
    }

    /// What an array of the state is called in a file.
    pub(super) fn file_name(&self, name: &str) -> String {
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

    /// The applied steps of each tensor's group, as JSON: PyTorch keeps them per tensor. Several lanes have a list.
    fn steps_text(&self, applied: &[Vec<u64>]) -> String {
        let of = |tensor: &Tensor| match applied {
            [only] => json!(only[tensor.group]),
            lanes => json!(lanes.iter().map(|lane| lane[tensor.group]).collect::<Vec<_>>()),
        };
        let steps = |tensor: &Tensor| (tensor.name.clone(), of(tensor));
        Value::Object(self.arena().tensors().iter().map(steps).collect()).to_string()
    }
}
