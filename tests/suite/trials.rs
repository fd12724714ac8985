//! What a trial of an operation finds: `Case::compare`.

use crate::common::engines;
use thalweg::cpu::Cpu;
use thalweg::gpu::GpuOptions;
use thalweg::plan::{Case, Dispatch, Kind, Layout, Operands, Operation, Use, View, Views};
use thalweg::{Real, Result};

/// Counts up, on the GPU perhaps by another number.
#[derive(Debug, Clone)]
struct Count {
    counts: View,
    on_the_gpu: usize,
}

impl Operation for Count {
    const NAME: &'static str = "count";

    fn operands(&self, o: &mut Operands) {
        o.declare("counts", self.counts, Kind::Index, Use::Change, self.counts.len);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let text = "
            @compute @workgroup_size(64)
            fn count(@builtin(global_invocation_id) id: vec3u) { put_counts(id.z, id.x, counts(id.z, id.x) + op.by); }";
        vec![Dispatch::new("count", text).size("by", self.on_the_gpu)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let [counts] = views.all()?;
        counts.indices_mut()?.iter_mut().for_each(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    /// Right, and wrong by one.
    fn cases(layout: &mut Layout) -> Vec<Self> {
        let counts = layout.indices("counts", 64);
        [1, 2].map(|on_the_gpu| Self { counts: layout.whole(counts), on_the_gpu }).into()
    }
}

/// Some of the indices are beyond 2³¹, in units of whose last place as floats one more is nothing.
#[test]
fn an_index_that_is_off_by_one_is_found_beside_large_ones() {
    let (oracle, single) = (Cpu::<f64>::default(), Cpu::<f32>::default());
    let gpu = engines::open(GpuOptions::default());
    let [right, wrong] = Case::of::<Count>(2).try_into().expect("two cases");
    assert_eq!(right.compare(&oracle, &single, &gpu), Ok(()));
    let message = wrong.compare(&oracle, &single, &gpu).unwrap_err().to_string();
    assert!(message.starts_with("element 0 of counts of count in lane 0: "), "{message}");
    let counts = &right.outputs(&oracle).expect("counts")[0].1;
    assert!(counts.iter().any(|&count| count > f64::from(1u32 << 31)), "{counts:?}");
}
