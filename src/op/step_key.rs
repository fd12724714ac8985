use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Kind, Layout, Operands, Operation, Use, View, Views};
use crate::random::threefry;
use crate::rule::Real;

/// The key of a step's random numbers: `out = threefry(key, (step, micro))`, two words from a lane's own key, the number of
/// applied steps, and the micro-batch. A skipped step does not count, so the next one has the same numbers.
#[derive(Debug, Clone)]
pub struct StepKey {
    /// A lane's key: two indices.
    pub key: View,
    /// The number of applied steps: one index.
    pub step: View,
    /// The number of the micro-batch: one index; 0 without.
    pub micro: Option<View>,
    /// Two indices.
    pub out: View,
}

impl Operation for StepKey {
    const NAME: &'static str = "step_key";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.indices("key", self.key, 2);
        o.indices("step", self.step, 1);
        if let Some(micro) = self.micro {
            o.indices("micro", micro, 1);
        }
        o.declare("out", self.out, Kind::Index, Use::Write, 2);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let micro = if self.micro.is_some() { "" } else { "fn micro(lane: u32, i: u32) -> u32 { return 0u; }\n" };
        let files = [include_str!("../../shaders/op/random.wgsl"), include_str!("../../shaders/op/step_key.wgsl")];
        vec![Dispatch::new("step_key", [micro, files[0], files[1]].concat())]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let mut views = views.list();
        let mut words = |count: usize| views.next().map_or(Ok(&[0][..]), |view| Ok(&view.indices()?[..count]));
        let (key, step) = (words(2)?, words(1)?[0]);
        let micro = if self.micro.is_some() { words(1)?[0] } else { 0 };
        if let Some(out) = views.next() {
            out.indices_mut()?.copy_from_slice(&threefry([key[0], key[1]], [step, micro]));
        }
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let mut case = |micro: bool| {
            let [key, step, count, out] =
                [2, 1, 1, 2].map(|len| layout.indices("words", len)).map(|buffer| layout.whole(buffer));
            Self { key, step, micro: micro.then_some(count), out }
        };
        vec![case(false), case(true)]
    }
}
