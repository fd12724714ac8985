//! A device with the documented limits and features is enough for every rule.

use crate::common::compare::assert_close;
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::{gradient, numbers};
use crate::common::options::options;
use thalweg::gpu::{Gpu, adapters};
use thalweg::{Recipe, wgpu};

#[test]
fn the_required_limits_and_features_run_every_rule() {
    let adapter = adapters().into_iter().next().expect("install mesa-vulkan-drivers and libvulkan1");
    let descriptor = wgpu::DeviceDescriptor {
        required_features: Gpu::required_features(),
        required_limits: Gpu::required_limits(),
        ..Default::default()
    };
    let (device, queue) = pollster::block_on(adapter.request_device(&descriptor)).expect("a device");
    let gpu = Gpu::from_wgpu(device, queue);
    const LEN: usize = 5_000;
    for (name, rule) in options() {
        let recipe = Recipe::new(rule.clone()).clip_norm(10.0);
        let mut on_gpu = Model::new(&gpu, recipe.clone(), &*rule, &[LEN]);
        let mut on_cpu = Model::new(&engines::cpu(), recipe, &*rule, &[LEN]);
        let start = numbers(1, LEN);
        on_gpu.set_params(0, &start);
        on_cpu.set_params(0, &start);
        on_gpu.set_grads(0, &gradient(2, 1, LEN));
        on_cpu.set_grads(0, &gradient(2, 1, LEN));
        on_gpu.step();
        on_cpu.step();
        let expected: Vec<f64> = on_cpu.params(0).into_iter().map(f64::from).collect();
        // A thousandth of the movement, plus the rounding of the parameter.
        let bound =
            |i: usize| 1e-3 * (expected[i] - f64::from(start[i])).abs() + 2.0 * f64::from(f32::EPSILON) * expected[i].abs();
        assert_close(&name, &on_gpu.params(0), &expected, bound);
        assert!(on_gpu.params(0) != start, "{name}: no movement");
    }
}
