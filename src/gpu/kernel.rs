//! A kernel: WGSL text joined from files, with constants. It is made and tested without a device.

use crate::rule::BoundsChecks;

/// A compute kernel: entry point, source and constants.
#[derive(Debug, Clone)]
pub(crate) struct Kernel {
    /// The entry point, named like its file.
    pub name: &'static str,
    /// The joined source.
    pub source: String,
    /// Values of `override`s.
    pub constants: Vec<(&'static str, f64)>,
    /// Names of the uniform's fields, as [`params!`] declares them.
    #[cfg_attr(not(test), expect(dead_code, reason = "tests compare them with the WGSL"))]
    pub fields: &'static [&'static str],
    /// How the kernel uses the bindings 1, 2, …
    pub bindings: Vec<Access>,
    /// The rule's or the operation's own text, where there is one.
    pub authored: Option<Authored>,
}

/// The text of a rule or an operation. It stands first in its kernel, so that a compiler counts its lines as its author does.
#[derive(Debug, Clone)]
pub(crate) struct Authored {
    /// Whose text it is, in errors.
    pub of: String,
    pub lines: u32,
    pub bounds_checks: BoundsChecks,
}

/// How a kernel uses a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// A storage buffer, only read.
    Read,
    /// A storage buffer, read and written.
    Write,
    /// A uniform.
    Uniform,
}

impl Access {
    pub(crate) fn binding_type(self) -> wgpu::BufferBindingType {
        match self {
            Self::Read => wgpu::BufferBindingType::Storage { read_only: true },
            Self::Write => wgpu::BufferBindingType::Storage { read_only: false },
            Self::Uniform => wgpu::BufferBindingType::Uniform,
        }
    }
}

/// WGSL that is joined piece by piece; its bindings are numbered in the order in which they are declared.
#[derive(Debug, Default)]
pub(crate) struct Source {
    text: String,
    bindings: Vec<Access>,
    authored: Option<Authored>,
}

impl Source {
    /// Begins with the text of a rule or an operation.
    pub(crate) fn begin(of: String, text: &str, bounds_checks: BoundsChecks) -> Self {
        let authored = Authored { of, lines: text.trim_end().lines().count() as u32, bounds_checks };
        let mut source = Self { authored: Some(authored), ..Self::default() };
        source.join(text);
        source
    }

    /// Appends a text.
    pub(crate) fn join(&mut self, text: &str) {
        self.text += text.trim_end();
        self.text.push('\n');
    }

    /// Declares the next binding, after that of the uniform.
    pub(crate) fn bind(&mut self, access: Access, name: &str, ty: &str) {
        let space = match access {
            Access::Read => "storage, read",
            Access::Write => "storage, read_write",
            Access::Uniform => "uniform",
        };
        self.bindings.push(access);
        self.text += &format!("@group(0) @binding({}) var<{space}> {name}: {ty};\n", self.bindings.len());
    }

    pub(crate) fn kernel(
        self,
        name: &'static str,
        constants: Vec<(&'static str, f64)>,
        fields: &'static [&'static str],
    ) -> Kernel {
        Kernel { name, source: self.text, constants, fields, bindings: self.bindings, authored: self.authored }
    }
}

/// Declares the uniform of a kernel: a struct of 32-bit fields with the same layout in Rust and WGSL, and its fields' names.
macro_rules! params {
    ($name:ident { $($field:ident: $type:ty),* $(,)? }) => {
        #[repr(C)]
        #[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
        pub(crate) struct $name { $(pub $field: $type),* }

        impl $name {
            pub(crate) const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    };
}
pub(crate) use params;
