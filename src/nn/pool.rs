//! Pools: windows of an image become one element each.

use super::conv::{spatial, wide};
use super::{Model, Tape, Value};
use crate::error::Error;
use crate::op::{LARGEST_PLANE, PoolKind, PoolSizes, Window};

/// Windows that slide over an image.
struct Sliding {
    size: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    dilation: [usize; 2],
    ceil: bool,
}

impl Sliding {
    /// Elements from a window's first to its last.
    fn extent(&self, axis: usize) -> usize {
        (self.size[axis] - 1).saturating_mul(self.dilation[axis]).saturating_add(1)
    }

    /// The number of windows along an axis of `len` elements; `None` if not even one fits. With `ceil` the last window may
    /// reach beyond the end, if it begins before it.
    fn places(&self, axis: usize, len: usize) -> Option<usize> {
        let rest = len.saturating_add(2 * self.padding[axis]).checked_sub(self.extent(axis))?;
        let stride = self.stride[axis];
        if !self.ceil {
            return Some(rest / stride + 1);
        }
        let places = rest.div_ceil(stride) + 1;
        let begins = (places - 1) * stride < len + self.padding[axis];
        Some(if begins { places } else { places - 1 })
    }

    /// Whether any window has all its elements outside the image, which a dilation makes possible.
    fn misses(&self, axis: usize, image: usize, windows: usize) -> bool {
        let beyond = self.padding[axis]..self.padding[axis] + image;
        let meets =
            |o: usize| (0..self.size[axis]).any(|k| beyond.contains(&(o * self.stride[axis] + k * self.dilation[axis])));
        self.dilation[axis] > 1 && !(0..windows).all(meets)
    }

    /// The sizes of a pool over `planes` images.
    fn sizes(&self, planes: usize, image: [usize; 2]) -> Result<PoolSizes, Error> {
        for (name, sizes) in [("kernel", self.size), ("stride", self.stride), ("dilation", self.dilation)] {
            if sizes.contains(&0) {
                let expected = format!("at least 1 along each axis of an image of {image:?}");
                return Err(Error::shape(format!("{name} of a pool"), expected, format!("{sizes:?}")));
            }
        }
        if (0..2).any(|axis| self.padding[axis] > self.extent(axis) / 2) {
            let expected = format!("at most half of the kernel {:?} (dilation {:?})", self.size, self.dilation);
            return Err(Error::shape("padding of a pool", expected, format!("{:?}", self.padding)));
        }
        let [Some(lines), Some(columns)] = [0, 1].map(|axis| self.places(axis, image[axis])) else {
            let expected = format!("at most the padded image of {image:?} (padding {:?})", self.padding);
            let found = format!("{:?} (dilation {:?})", self.size, self.dilation);
            return Err(Error::shape("kernel of a pool", expected, found));
        };
        if let Some(axis) = (0..2).find(|&axis| self.misses(axis, image[axis], [lines, columns][axis])) {
            let expected = format!("such that each window meets the image of {image:?}");
            let found = format!("{} (kernel {}, padding {})", self.dilation[axis], self.size[axis], self.padding[axis]);
            return Err(Error::shape("dilation of a pool", expected, found));
        }
        let window = |axis: usize| Window::Sliding {
            size: self.size[axis],
            stride: self.stride[axis],
            padding: self.padding[axis],
            dilation: self.dilation[axis],
        };
        Ok(PoolSizes { planes, image, out: [lines, columns], windows: [window(0), window(1)] })
    }
}

/// Records a pool over the last `N` axes of a value.
fn pool<const N: usize>(
    tape: &mut Tape,
    x: &Value,
    kind: PoolKind,
    sizes: impl FnOnce(usize, [usize; 2]) -> Result<PoolSizes, Error>,
) -> Value {
    let channels = x.shape().get(1).copied().unwrap_or(1);
    let Some((samples, image)) = spatial::<N>(tape, x, channels, "a pool") else { return x.clone() };
    let sizes = match sizes(samples * channels, image) {
        Ok(sizes) => sizes,
        Err(error) => return tape.fail(error),
    };
    if kind == PoolKind::Max && image[0].saturating_mul(image[1]) > LARGEST_PLANE {
        return tape.fail(Error::shape("image of a pool", format!("at most {LARGEST_PLANE} elements"), format!("{image:?}")));
    }
    tape.pooled(kind, sizes, x, &[&[samples, channels], &sizes.out[2 - N..]].concat())
}

macro_rules! pools {
    ($($max:ident, $average:ident, $adaptive_max:ident, $adaptive_average:ident, $axes:literal;)*) => {$(
        /// The largest element of each window; NaN if there is one. The gradient goes to the first of the largest. Places
        /// beyond the image
        #[doc = concat!("count as −∞. As PyTorch's `", stringify!($max), "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $max {
            /// Sizes of a window.
            pub kernel: [usize; $axes],
            /// Elements from one window to the next. Default: the kernel.
            pub stride: [usize; $axes],
            /// Places before the first and after the last element, at most half of a window. Default 0.
            pub padding: [usize; $axes],
            /// Elements from one element of a window to the next. Default 1.
            pub dilation: [usize; $axes],
            /// Whether a last window may reach beyond the end. Default false.
            pub ceil_mode: bool,
        }

        impl $max {
            /// PyTorch's defaults.
            pub fn new(kernel: [usize; $axes]) -> Self {
                Self { kernel, stride: kernel, padding: [0; $axes], dilation: [1; $axes], ceil_mode: false }
            }
        }

        impl Model for $max {
            fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
                let &Self { kernel, stride, padding, dilation, ceil_mode: ceil } = self;
                let (size, stride, padding) = (wide(kernel, 1), wide(stride, 1), wide(padding, 0));
                let windows = Sliding { size, stride, padding, dilation: wide(dilation, 1), ceil };
                pool::<$axes>(tape, x, PoolKind::Max, |planes, image| windows.sizes(planes, image))
            }
        }

        #[doc = concat!("The mean of each window. As PyTorch's `", stringify!($average), "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $average {
            /// Sizes of a window.
            pub kernel: [usize; $axes],
            /// Elements from one window to the next. Default: the kernel.
            pub stride: [usize; $axes],
            /// Places before the first and after the last element, at most half of a window. Default 0.
            pub padding: [usize; $axes],
            /// Whether a last window may reach beyond the end. Default false.
            pub ceil_mode: bool,
            /// Whether the places of `padding` count as zeros, or not at all. Default true.
            pub count_include_pad: bool,
        }

        impl $average {
            /// PyTorch's defaults.
            pub fn new(kernel: [usize; $axes]) -> Self {
                Self { kernel, stride: kernel, padding: [0; $axes], ceil_mode: false, count_include_pad: true }
            }
        }

        impl Model for $average {
            fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
                let &Self { kernel, stride, padding, ceil_mode: ceil, count_include_pad: padded } = self;
                let (size, stride, padding) = (wide(kernel, 1), wide(stride, 1), wide(padding, 0));
                let windows = Sliding { size, stride, padding, dilation: [1, 1], ceil };
                pool::<$axes>(tape, x, PoolKind::Average { padded }, |planes, image| windows.sizes(planes, image))
            }
        }

        pools!(adaptive $adaptive_max, $axes, PoolKind::Max, "The largest element");
        pools!(adaptive $adaptive_average, $axes, PoolKind::Average { padded: false }, "The mean");
    )*};
    (adaptive $name:ident, $axes:literal, $kind:expr, $what:literal) => {
        #[doc = concat!($what, " of each of O windows, which cover an axis of L elements: window o has those from ⌊o·L/O⌋")]
        #[doc = concat!("to below ⌈(o + 1)·L/O⌉. One window is the whole image. As PyTorch's `", stringify!($name), "`.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct $name {
            /// Windows along each axis, at least 1.
            pub out: [usize; $axes],
        }

        impl Model for $name {
            fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
                let out = wide(self.out, 1);
                pool::<$axes>(tape, x, $kind, |planes, image| {
                    if out.contains(&0) {
                        let expected = format!("at least 1 along each axis of an image of {image:?}");
                        return Err(Error::shape("output of an adaptive pool", expected, format!("{:?}", self.out)));
                    }
                    Ok(PoolSizes { planes, image, out, windows: [Window::Adaptive; 2] })
                })
            }
        }
    };
}

pools! {
    MaxPool1d, AvgPool1d, AdaptiveMaxPool1d, AdaptiveAvgPool1d, 1;
    MaxPool2d, AvgPool2d, AdaptiveMaxPool2d, AdaptiveAvgPool2d, 2;
}
