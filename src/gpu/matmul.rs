//! Which kernel of a product an adapter gets.

use crate::op::Variant;
use crate::plan::Adapter;

/// What kernels are chosen by.
pub(super) fn adapter(info: &wgpu::AdapterInfo, features: wgpu::Features) -> Adapter {
    let subgroups = features.contains(wgpu::Features::SUBGROUP) && info.subgroup_min_size >= 8;
    Adapter::new(info.device_type == wgpu::DeviceType::Cpu, subgroups)
}

/// The name of the matrix product's variant for an adapter, for people.
pub fn product_variant(info: &wgpu::AdapterInfo, features: wgpu::Features) -> &'static str {
    match Variant::of(&adapter(info, features)) {
        Variant::Lean => "lean",
        Variant::LeanSubgroup => "lean with subgroups",
        Variant::Tile => "tile",
    }
}

#[cfg(test)]
mod tests;
