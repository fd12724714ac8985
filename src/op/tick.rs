use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Kind, Layout, Operands, Operation, Use, View, Views};
use crate::rule::Real;

/// `clock[0] += 1`, modulo 2³²: what [`Gather`](super::Gather) goes by.
#[derive(Debug, Clone)]
pub struct Tick {
    /// One index.
    pub clock: View,
}

impl Operation for Tick {
    const NAME: &'static str = "tick";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.declare("clock", self.clock, Kind::Index, Use::Change, 1);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        vec![Dispatch::new("tick", include_str!("../../shaders/op/tick.wgsl"))]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let [clock] = views.all()?;
        let clock = clock.indices_mut()?;
        clock[0] = clock[0].wrapping_add(1);
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let clocks = layout.indices("clocks", 3);
        vec![Self { clock: View { buffer: clocks, offset: 1, len: 1 } }]
    }
}
