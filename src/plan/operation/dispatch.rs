//! The kernels of an operation, and how they are dispatched.

use std::borrow::Cow;

/// A field of a kernel's uniform.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Size {
    /// `u32`.
    Count(usize),
    /// `f32`.
    Number(f64),
}

/// One kernel of an operation, and how it is dispatched.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The entry point.
    pub entry: &'static str,
    /// The WGSL, without bindings.
    pub text: Cow<'static, str>,
    /// Values of its `override`s.
    pub constants: Vec<(&'static str, f64)>,
    /// Fields of the uniform `op`.
    pub sizes: Vec<(Cow<'static, str>, Size)>,
    /// Workgroups along x and y.
    pub grid: [u32; 2],
    /// Iterations of all loops of one invocation, at most.
    pub trips: u64,
    /// Elements, if each of them stands alone: see [`Dispatch::each`].
    pub each: Option<Each>,
}

/// A kernel in which each element stands alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Each {
    /// Elements.
    pub len: usize,
    /// Threads of a workgroup.
    pub threads: usize,
}

/// Workgroups along one dimension that every device grants.
pub(crate) const GROUPS: usize = 65_535;

impl Dispatch {
    /// A kernel in one workgroup per lane, without sizes and loops.
    pub fn new(entry: &'static str, text: impl Into<Cow<'static, str>>) -> Self {
        Self { entry, text: text.into(), constants: Vec::new(), sizes: Vec::new(), grid: [1, 1], trips: 0, each: None }
    }

    /// With a count in the uniform.
    pub fn size(mut self, name: impl Into<Cow<'static, str>>, value: usize) -> Self {
        self.sizes.push((name.into(), Size::Count(value)));
        self
    }

    /// With a number in the uniform, rounded to `f32`.
    pub fn number(mut self, name: impl Into<Cow<'static, str>>, value: f64) -> Self {
        self.sizes.push((name.into(), Size::Number(value)));
        self
    }

    /// With a value for an `override`.
    pub fn constant(mut self, name: &'static str, value: f64) -> Self {
        self.constants.push((name, value));
        self
    }

    /// A thread per element, in workgroups of `threads`: element `id.x + id.y · count.x · threads`.
    pub fn elements(self, elements: usize, threads: usize) -> Self {
        self.workgroups(elements.div_ceil(threads))
    }

    /// So many workgroups, numbered `id.x + id.y · count.x`; there may be a few more than that.
    pub fn workgroups(mut self, groups: usize) -> Self {
        let rows = groups.div_ceil(GROUPS).max(1);
        self.grid = [groups.div_ceil(rows), rows].map(|groups| u32::try_from(groups).unwrap_or(u32::MAX));
        self
    }

    /// As [`Dispatch::elements`], with the size `len`, for a kernel in which element i of what is written depends on element i
    /// of what is read alone, and whose text says nothing of their type. The engine may then give it vectors of four as
    /// elements, and run it piece by piece over whole buffers that lie in several.
    pub fn each(self, len: usize, threads: usize) -> Self {
        Self { each: Some(Each { len, threads }), ..self.size("len", len).elements(len, threads) }
    }

    /// With loops of this many iterations. Some software drivers end long loops silently; there too many iterations are an
    /// error.
    pub fn trips(mut self, trips: usize) -> Self {
        self.trips = trips as u64;
        self
    }
}
