//! Who holds parameters or gradients, and how a kernel's text reaches them.

use super::kernel::{Access, Source};

/// Who holds parameters or gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holder {
    /// An arena of this crate.
    Own,
    /// Slices of the caller's buffers.
    Borrowed,
    /// Gradients in the binding of the parameters: slices so close to each other in one buffer that two bindings would overlap.
    Joined,
}

impl Holder {
    /// Declares gradients and their access. `first` is where the i-th vec4 of this launch stands in an arena's segment.
    pub(super) fn bind_grads(self, source: &mut Source, first: &str) {
        match self {
            Self::Own => {
                source.bind(Access::Write, "grads", "array<T>");
                source.join(&format!("fn first_grad(i: u32) -> u32 {{ return {first}; }}"));
                source.join(include_str!("../../shaders/access/grads_own.wgsl"));
            }
            Self::Borrowed => {
                source.bind(Access::Write, "grads", "array<f32>");
                source.bind(Access::Read, "places", "array<vec4u>");
                source.join(include_str!("../../shaders/access/grads_borrowed.wgsl"));
                source.join(include_str!("../../shaders/access/places.wgsl"));
            }
            Self::Joined => {
                source.bind(Access::Read, "places", "array<vec4u>");
                source.join(&include_str!("../../shaders/access/grads_borrowed.wgsl").replace("grads[", "params["));
                source.join(include_str!("../../shaders/access/places.wgsl"));
            }
        }
    }

    /// Declares gradients as single elements, and where element e of a launch's part of the arena is among them.
    pub(super) fn bind_address(self, source: &mut Source) {
        source.bind(Access::Write, "grads", "array<f32>");
        match self {
            Self::Own => source.join("fn address(e: u32) -> u32 { return e; }"),
            Self::Borrowed | Self::Joined => {
                source.bind(Access::Read, "places", "array<vec4u>");
                source.join("fn address(e: u32) -> u32 { return places[e / 64u].y + e % 64u; }");
            }
        }
    }
}
