//! Steps of the CPU engine on memory of the caller.

use super::Optimizer;
use super::state::{State, StateValues};
use super::view::StateView;
#[cfg(feature = "checkpoint")]
use crate::checkpoint::{Element, Loaded, Tensors};
use crate::cpu::{CpuProgram, Float};
use crate::error::Result;
use crate::plan::PlanId;

/// Steps on the caller's memory instead of the optimizer's arenas: one slice per tensor, in the order in which the tensors were
/// given; for a population first those of lane 0, then those of lane 1, and so on. The optimizer keeps only the state; its
/// arenas of parameters and gradients stay untouched. The bits are those of steps on the arenas.
///
/// # Examples
///
/// ```
/// use thalweg::{Optimizer, Recipe, Sgd, cpu::Cpu};
///
/// let recipe = Recipe::new(Sgd { lr: 0.5, ..Default::default() }).zero_grads();
/// let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("weight", &[3]), ("bias", &[1])])?;
/// let (mut weight, mut bias) = (vec![1.0, 2.0, 3.0], vec![0.5]);
/// let (mut by_weight, mut by_bias) = (vec![2.0, 2.0, 2.0], vec![1.0]);
/// optimizer.step_over(&mut [&mut weight, &mut bias], &mut [&mut by_weight, &mut by_bias])?;
/// assert_eq!((weight, bias), (vec![0.0, 1.0, 2.0], vec![0.0]));
/// assert_eq!((by_weight, by_bias), (vec![0.0; 3], vec![0.0]));
/// # Ok::<(), thalweg::Error>(())
/// ```
impl<F: Float> Optimizer<CpuProgram<F>> {
    /// [`Optimizer::step`] on the caller's slices.
    ///
    /// # Errors
    /// Slices that are not as many or not as long as the tensors of all lanes, naming the tensor; or as for
    /// [`Optimizer::steps`].
    pub fn step_over<'s>(&mut self, params: &mut [&'s mut [F]], grads: &mut [&'s mut [F]]) -> Result<()> {
        // A step that is refused must not count, so everything is checked first.
        let plan = self.stepper.plans.step;
        self.program.check_over(&self.stepper.arena, params, grads)?;
        self.stepper.check_ahead(&[plan], 1)?;
        self.stepper.before_encoding(&mut self.program)?;
        self.run_over(plan, params, grads)?;
        self.stepper.ahead = 0;
        Ok(())
    }

    /// [`Optimizer::accumulate`] of the caller's gradients.
    ///
    /// # Errors
    /// As for [`Optimizer::step_over`] and [`Optimizer::accumulate`].
    pub fn accumulate_over<'s>(&mut self, params: &mut [&'s mut [F]], grads: &mut [&'s mut [F]]) -> Result<()> {
        let plan = self.stepper.accumulation()?;
        self.run_over(plan, params, grads)?;
        self.stepper.ahead += 1;
        Ok(())
    }

    /// [`Optimizer::ascend`] on the caller's slices.
    ///
    /// # Errors
    /// As for [`Optimizer::step_over`] and [`Optimizer::ascend`].
    pub fn ascend_over<'s>(&mut self, params: &mut [&'s mut [F]], grads: &mut [&'s mut [F]]) -> Result<()> {
        let plan = self.stepper.ascent()?;
        self.run_over(plan, params, grads)?;
        self.stepper.ahead += 1;
        Ok(())
    }

    /// [`Optimizer::state_dict`] of a run on the caller's slices, whose parameters are what the slices hold.
    ///
    /// # Errors
    /// Slices as for [`Optimizer::step_over`]; or as for [`Optimizer::state_dict`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Adam, Optimizer, Recipe, cpu::Cpu};
    ///
    /// let new = || Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Adam::default()), &[("w", &[2])]);
    /// let (mut first, mut second) = (new()?, new()?);
    /// let (mut w, mut by_w) = ([1.0, 2.0], [0.5, -0.5]);
    /// first.step_over(&mut [&mut w], &mut [&mut by_w])?;
    /// let state = first.state_dict_over(&[&w])?;
    ///
    /// let mut taken_up = [0.0; 2];
    /// second.load_state_dict_over(&state, &mut [&mut taken_up])?;
    /// assert_eq!(taken_up, w);
    /// first.step_over(&mut [&mut w], &mut [&mut by_w])?;
    /// second.step_over(&mut [&mut taken_up], &mut [&mut by_w])?;
    /// assert_eq!(taken_up, w);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn state_dict_over(&mut self, params: &[&[F]]) -> Result<State<F>> {
        self.program.check_slices(&self.stepper.arena, params.iter().map(|slice| slice.len()))?;
        let mut state = self.stepper.snapshot_but(&mut self.program, &[self.stepper.buffers.params])?;
        let tensors = self.stepper.arena.tensors();
        for (at, tensor) in tensors.iter().enumerate() {
            let lanes = params.iter().skip(at).step_by(tensors.len()).map(|slice| slice.to_vec()).collect();
            state.put(format!("param.{}", tensor.name), &tensor.shape, StateValues::Floats(lanes));
        }
        Ok(state)
    }

    /// [`Optimizer::load_state_dict`] of a run on the caller's slices, which get the parameters. Nothing is changed where the
    /// state or the slices do not fit.
    ///
    /// # Errors
    /// Slices as for [`Optimizer::step_over`]; or as for [`Optimizer::load_state_dict`].
    pub fn load_state_dict_over(&mut self, state: &State<F>, params: &mut [&mut [F]]) -> Result<()> {
        self.load_view_over(&state.view(), params)
    }

    fn load_view_over(&mut self, state: &StateView<'_, F>, params: &mut [&mut [F]]) -> Result<()> {
        self.program.check_slices(&self.stepper.arena, params.iter().map(|slice| slice.len()))?;
        self.stepper.restore_but(&mut self.program, state, &[self.stepper.buffers.params], &[])?;
        let (tensors, lanes) = (self.stepper.arena.tensors(), self.stepper.recipe.lanes());
        for (at, tensor) in tensors.iter().enumerate() {
            let found = state.floats(&format!("param.{}", tensor.name), &tensor.shape, lanes)?;
            let slices = params.iter_mut().skip(at).step_by(tensors.len());
            slices.zip(found).for_each(|(slice, own)| slice.copy_from_slice(own));
        }
        Ok(())
    }

    /// [`Optimizer::state_dict_over`] as tensors for a file: see [`Optimizer::tensors`].
    ///
    /// # Errors
    /// As for [`Optimizer::state_dict_over`].
    #[cfg(feature = "checkpoint")]
    pub fn tensors_over(&mut self, params: &[&[F]]) -> Result<Tensors>
    where
        F: Element,
    {
        let mut tensors = Tensors::default();
        self.tensors_over_into(params, &mut tensors)?;
        Ok(tensors)
    }

    /// [`Optimizer::tensors_over`] into tensors that are there: see [`Optimizer::tensors_into`].
    ///
    /// # Errors
    /// As for [`Optimizer::state_dict_over`].
    #[cfg(feature = "checkpoint")]
    pub fn tensors_over_into(&mut self, params: &[&[F]], tensors: &mut Tensors) -> Result<()>
    where
        F: Element,
    {
        self.program.check_slices(&self.stepper.arena, params.iter().map(|slice| slice.len()))?;
        let own = self.stepper.buffers.params;
        self.tensors_beside(State::default(), |id| id != own, tensors)?;
        let all = self.stepper.arena.tensors();
        for (at, tensor) in all.iter().enumerate() {
            let lanes: Vec<&[F]> = params.iter().skip(at).step_by(all.len()).copied().collect();
            tensors.put_parts(&format!("param.{}", tensor.name), &self.file_shape(&tensor.shape), &lanes)?;
        }
        Ok(())
    }

    /// Takes a run on the caller's slices up from what [`Optimizer::tensors_over`] or [`Optimizer::tensors`] gave. All is
    /// checked before anything changes.
    ///
    /// # Errors
    /// As for [`Optimizer::load_tensors`] and [`Optimizer::load_state_dict_over`].
    #[cfg(feature = "checkpoint")]
    pub fn load_tensors_over(&mut self, tensors: &Tensors, params: &mut [&mut [F]]) -> Result<Loaded>
    where
        F: Element,
    {
        let (state, loaded) = self.state_of(self.expected(), tensors, |_| false)?;
        self.load_view_over(&state, params)?;
        loaded.warn();
        Ok(loaded)
    }

    fn run_over<'s>(&mut self, plan: PlanId, params: &mut [&'s mut [F]], grads: &mut [&'s mut [F]]) -> Result<()> {
        let buffers = &self.stepper.buffers;
        self.program.run_over(plan, &self.stepper.arena, (buffers.params, params), (buffers.grads, grads))
    }
}
