//! Convolutions over signals and images, and transposed ones.

use super::{Init, Model, Tape, Value};
use crate::error::Error;
use crate::op::{ConvPart, ConvSizes, Expr};

/// What surrounds an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding<const N: usize> {
    /// This number of zeros on either side, for each axis.
    Zeros([usize; N]),
    /// As many zeros as make the output as large as the input: half of them on either side, and an odd one at the end. Strides
    /// have to be 1.
    Same,
}

macro_rules! convolution {
    ($name:ident, $axes:literal, $torch:literal, $shapes:literal, $formula:literal) => {
        #[doc = $formula]
        ///
        #[doc = concat!("Parameters `weight` and `bias`, as PyTorch's `", $torch, "`. ", $shapes)]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            /// Channels of x, a multiple of the groups.
            pub inputs: usize,
            /// Channels of y, a multiple of the groups.
            pub outputs: usize,
            /// Sizes of the kernel.
            pub kernel: [usize; $axes],
            /// Elements from one position of the kernel to the next. Default 1.
            pub stride: [usize; $axes],
            /// Zeros around x. Default none.
            pub padding: Padding<$axes>,
            /// Elements from one element under the kernel to the next. Default 1.
            pub dilation: [usize; $axes],
            /// Groups of channels: outputs depend only on the inputs of their own group. Default 1.
            pub groups: usize,
            /// Whether there is a bias per channel of y. Default true.
            pub bias: bool,
            /// How the weight starts. The default, `None`, is PyTorch's: uniform between ±1/√(inputs/groups · elements of the
            /// kernel).
            pub weight_init: Option<Init>,
            /// How the bias starts. The default, `None`, is uniform between the same bounds.
            pub bias_init: Option<Init>,
        }

        impl $name {
            /// PyTorch's defaults.
            pub fn new(inputs: usize, outputs: usize, kernel: [usize; $axes]) -> Self {
                Self {
                    inputs,
                    outputs,
                    kernel,
                    stride: [1; $axes],
                    padding: Padding::Zeros([0; $axes]),
                    dilation: [1; $axes],
                    groups: 1,
                    bias: true,
                    weight_init: None,
                    bias_init: None,
                }
            }

            /// With `padding` zeros on either side of each axis.
            pub fn padded(self, padding: [usize; $axes]) -> Self {
                Self { padding: Padding::Zeros(padding), ..self }
            }
        }

        impl Model for $name {
            fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
                let Some((batch, image)) = spatial::<$axes>(tape, x, self.inputs, "a convolution") else { return x.clone() };
                let kernel = Kernel::of(self.kernel, self.stride, self.dilation, self.groups);
                let zeros = match self.padding {
                    Padding::Zeros(zeros) => Some(wide(zeros, 0)),
                    Padding::Same => None,
                };
                let sizes = kernel.sizes(batch, [self.inputs, self.outputs], image, zeros);
                let sizes = match sizes {
                    Ok(sizes) => sizes,
                    Err(error) => return tape.fail(error),
                };
                let init = even(self.inputs / self.groups, self.kernel);
                let shape = [&[self.outputs, self.inputs / self.groups][..], &self.kernel].concat();
                let weight = tape.parameter("weight", &shape, self.weight_init.clone().unwrap_or(init.clone()));
                let shape = [&[batch, self.outputs], &sizes.out[2 - $axes..]].concat();
                let y = tape.convolved(ConvPart::Output, sizes, [x, &weight], &shape);
                let bias = self.bias.then(|| self.bias_init.clone().unwrap_or(init));
                biased(tape, y, self.outputs, bias)
            }
        }
    };
}

convolution!(
    Conv1d,
    1,
    "Conv1d",
    "x has the shape samples × inputs × length, and the weight outputs × (inputs/groups) × kernel.",
    "`y[n, k, i] = b[k] + Σ_{c, t} w[k, c, t]·x[n, c, i·stride + t·dilation − padding]`."
);
convolution!(
    Conv2d,
    2,
    "Conv2d",
    "x has the shape samples × inputs × lines × columns, and the weight outputs × (inputs/groups) × kernel.",
    "`y[n, k, i, j] = b[k] + Σ_{c, s, t} w[k, c, s, t]·x[n, c, i·stride + s·dilation − padding, j·stride + t·dilation − padding]`."
);

macro_rules! transposed {
    ($name:ident, $axes:literal, $torch:literal) => {
        #[doc = concat!("The gradient of a [`Conv", $axes, "d`] by its input as a layer: each element of x adds a kernel to y.")]
        ///
        /// y has `(size − 1)·stride + dilation·(kernel − 1) + output_padding + 1 − 2·padding` elements along an axis.
        /// Parameters `weight` (inputs × (outputs/groups) × kernel) and `bias`, as PyTorch's
        #[doc = concat!("`", $torch, "`.")]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name {
            /// Channels of x, a multiple of the groups.
            pub inputs: usize,
            /// Channels of y, a multiple of the groups.
            pub outputs: usize,
            /// Sizes of the kernel.
            pub kernel: [usize; $axes],
            /// Elements from one position of the kernel to the next. Default 1.
            pub stride: [usize; $axes],
            /// Elements that are left out on either side of y. Default none.
            pub padding: [usize; $axes],
            /// Further elements at the end of y, fewer than the stride or the dilation. Default none.
            pub output_padding: [usize; $axes],
            /// Elements from one element under the kernel to the next. Default 1.
            pub dilation: [usize; $axes],
            /// Groups of channels: outputs depend only on the inputs of their own group. Default 1.
            pub groups: usize,
            /// Whether there is a bias per channel of y. Default true.
            pub bias: bool,
            /// How the weight starts. The default, `None`, is PyTorch's: uniform between ±1/√(outputs/groups · elements of the
            /// kernel).
            pub weight_init: Option<Init>,
            /// How the bias starts. The default, `None`, is uniform between the same bounds.
            pub bias_init: Option<Init>,
        }

        impl $name {
            /// PyTorch's defaults.
            pub fn new(inputs: usize, outputs: usize, kernel: [usize; $axes]) -> Self {
                Self {
                    inputs,
                    outputs,
                    kernel,
                    stride: [1; $axes],
                    padding: [0; $axes],
                    output_padding: [0; $axes],
                    dilation: [1; $axes],
                    groups: 1,
                    bias: true,
                    weight_init: None,
                    bias_init: None,
                }
            }
        }

        impl Model for $name {
            fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
                let name = "a transposed convolution";
                let Some((batch, image)) = spatial::<$axes>(tape, x, self.inputs, name) else { return x.clone() };
                let kernel = Kernel::of(self.kernel, self.stride, self.dilation, self.groups);
                let paddings = [wide(self.padding, 0), wide(self.output_padding, 0)];
                let sizes = match kernel.transposed(batch, [self.inputs, self.outputs], image, paddings) {
                    Ok(sizes) => sizes,
                    Err(error) => return tape.fail(error),
                };
                let init = even(self.outputs / self.groups, self.kernel);
                let shape = [&[self.inputs, self.outputs / self.groups][..], &self.kernel].concat();
                let weight = tape.parameter("weight", &shape, self.weight_init.clone().unwrap_or(init.clone()));
                let shape = [&[batch, self.outputs], &sizes.image[2 - $axes..]].concat();
                let y = tape.convolved(ConvPart::Input, sizes, [x, &weight], &shape);
                let bias = self.bias.then(|| self.bias_init.clone().unwrap_or(init));
                biased(tape, y, self.outputs, bias)
            }
        }
    };
}

transposed!(ConvTranspose1d, 1, "ConvTranspose1d");
transposed!(ConvTranspose2d, 2, "ConvTranspose2d");

/// PyTorch's start values: uniform between ±1/√fan_in.
fn even<const N: usize>(channels: usize, kernel: [usize; N]) -> Init {
    let fan = kernel.iter().fold(channels, |fan, &size| fan.saturating_mul(size));
    Init::Uniform((fan.max(1) as f64).sqrt().recip())
}

/// Sizes along two axes; signals have one line.
pub(super) fn wide<const N: usize>(sizes: [usize; N], line: usize) -> [usize; 2] {
    let mut wide = [line; 2];
    wide[2 - N..].copy_from_slice(&sizes);
    wide
}

/// The number of samples, and the sizes along the image's axes, of a value of samples × `channels` × `N` axes of at least one
/// element; any other value is a mistake that the tape keeps.
pub(super) fn spatial<const N: usize>(tape: &mut Tape, x: &Value, channels: usize, of: &str) -> Option<(usize, [usize; 2])> {
    let shape = x.shape();
    if shape.len() != 2 + N || shape[1] != channels || shape[2..].contains(&0) {
        let axes = if N == 1 { "length" } else { "lines, columns" };
        let expected = format!("[samples, {channels}, {axes}]");
        tape.fail(Error::shape(format!("input of {of}"), expected, format!("{shape:?}")));
        return None;
    }
    let mut image = [1; 2];
    image[2 - N..].copy_from_slice(&shape[2..]);
    Some((shape[0], image))
}

/// Adds a bias per channel, if `init` says how it starts.
fn biased(tape: &mut Tape, y: Value, channels: usize, init: Option<Init>) -> Value {
    let Some(init) = init else { return y };
    let bias = tape.parameter("bias", &[channels], init);
    let shape: Vec<usize> = (0..y.shape().len()).map(|axis| if axis == 1 { channels } else { 1 }).collect();
    &y + &bias.reshape(&shape)
}

/// A kernel and how it moves over an image.
struct Kernel {
    size: [usize; 2],
    stride: [usize; 2],
    dilation: [usize; 2],
    groups: usize,
}

impl Kernel {
    fn of<const N: usize>(size: [usize; N], stride: [usize; N], dilation: [usize; N], groups: usize) -> Self {
        Self { size: wide(size, 1), stride: wide(stride, 1), dilation: wide(dilation, 1), groups }
    }

    /// Elements from the first under the kernel to the last.
    fn extent(&self, axis: usize) -> usize {
        (self.size[axis].saturating_sub(1)).saturating_mul(self.dilation[axis]).saturating_add(1)
    }

    /// Checks channels, kernel, stride and dilation, which have to be right for any image.
    fn check(&self, [inputs, outputs]: [usize; 2], image: [usize; 2]) -> Result<(), Error> {
        let groups = self.groups;
        if groups == 0 || inputs == 0 || outputs == 0 || inputs % groups > 0 || outputs % groups > 0 {
            let found = format!("{inputs} inputs and {outputs} outputs");
            return Err(Error::shape("channels of a convolution", format!("multiples of {groups} groups"), found));
        }
        for (name, sizes) in [("kernel", self.size), ("stride", self.stride), ("dilation", self.dilation)] {
            if sizes.contains(&0) {
                let expected = format!("at least 1 along each axis of an image of {image:?}");
                return Err(Error::shape(format!("{name} of a convolution"), expected, format!("{sizes:?}")));
            }
        }
        Ok(())
    }

    /// Sizes of a convolution with `zeros` around the image; `None` is as many as keep its size.
    fn sizes(
        &self,
        batch: usize,
        channels: [usize; 2],
        image: [usize; 2],
        zeros: Option<[usize; 2]>,
    ) -> Result<ConvSizes, Error> {
        self.check(channels, image)?;
        if zeros.is_none() && self.stride != [1, 1] {
            let found = format!("{:?} for an image of {image:?}", self.stride);
            return Err(Error::shape("stride of a convolution that keeps sizes", "1", found));
        }
        let extent = [0, 1].map(|axis| self.extent(axis));
        let (padding, out) = match zeros {
            None => (extent.map(|extent| (extent - 1) / 2), image.map(Some)),
            Some(zeros) => {
                let padded = [0, 1].map(|axis| image[axis].saturating_add(zeros[axis].saturating_mul(2)));
                let places = |axis: usize| Some(padded[axis].checked_sub(extent[axis])? / self.stride[axis] + 1);
                (zeros, [places(0), places(1)])
            }
        };
        let [Some(lines), Some(columns)] = out else {
            let padded = [0, 1].map(|axis| image[axis].saturating_add(padding[axis].saturating_mul(2)));
            let expected = format!("at most the padded image of {padded:?} (image {image:?}, padding {padding:?})");
            let found = format!("{extent:?} (kernel {:?}, dilation {:?})", self.size, self.dilation);
            return Err(Error::shape("kernel of a convolution", expected, found));
        };
        Ok(self.with(batch, channels, [image, [lines, columns]], padding))
    }

    /// Sizes for a transposed convolution: those of the convolution whose gradient by its input it is. So `given` is the size
    /// of that convolution's y.
    fn transposed(
        &self,
        batch: usize,
        [inputs, outputs]: [usize; 2],
        given: [usize; 2],
        [padding, more]: [[usize; 2]; 2],
    ) -> Result<ConvSizes, Error> {
        self.check([inputs, outputs], given)?;
        if (0..2).any(|axis| more[axis] > 0 && more[axis] >= self.stride[axis].max(self.dilation[axis])) {
            let expected = format!("below the stride {:?} or the dilation {:?}", self.stride, self.dilation);
            return Err(Error::shape("output_padding of a transposed convolution", expected, format!("{more:?}")));
        }
        let made = |axis: usize| {
            let spread = (given[axis] - 1).saturating_mul(self.stride[axis]).saturating_add(self.extent(axis));
            spread.saturating_add(more[axis]).checked_sub(padding[axis].saturating_mul(2)).filter(|size| *size > 0)
        };
        let [Some(lines), Some(columns)] = [made(0), made(1)] else {
            let found = format!("padding {padding:?} for an image of {given:?} and a kernel of {:?}", self.size);
            return Err(Error::shape("output of a transposed convolution", "at least one element along each axis", found));
        };
        Ok(self.with(batch, [outputs, inputs], [[lines, columns], given], padding))
    }

    fn with(
        &self,
        batch: usize,
        [inputs, outputs]: [usize; 2],
        [image, out]: [[usize; 2]; 2],
        padding: [usize; 2],
    ) -> ConvSizes {
        let &Self { size: kernel, stride, dilation, groups } = self;
        ConvSizes { batch, groups, inputs, outputs, image, out, kernel, stride, padding, dilation }
    }
}

/// Repeats each element `scale` times along lines and columns, as PyTorch's `Upsample` with the mode `nearest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upsample {
    /// How often an element is repeated along lines and along columns, each at least 1.
    pub scale: [usize; 2],
}

/// The samples, channels, lines and columns of what is to be upsampled; nothing after a mistake, which is kept.
fn upsampled(tape: &mut Tape, x: &Value, scale: [usize; 2]) -> Option<[usize; 4]> {
    let &[samples, channels, lines, columns] = x.shape() else {
        let expected = "[samples, channels, lines, columns]";
        tape.fail(Error::shape("input of an upsampling", expected, format!("{:?}", x.shape())));
        return None;
    };
    if scale.contains(&0) || lines == 0 || columns == 0 {
        let expected = format!("at least 1 for an image of [{lines}, {columns}]");
        tape.fail(Error::shape("scale of an upsampling", expected, format!("{scale:?}")));
        return None;
    }
    Some([samples, channels, lines, columns])
}

impl Model for Upsample {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let [down, right] = self.scale;
        let Some([samples, channels, lines, columns]) = upsampled(tape, x, self.scale) else { return x.clone() };
        let apart = x.reshape(&[samples * channels * lines, 1, columns, 1]);
        let shape = [samples * channels * lines, down, columns, right];
        let repeated = tape.map_of(&shape, &[&apart], |of| of[0].clone());
        repeated.reshape(&[samples, channels, lines * down, columns * right])
    }
}

/// Elements between the elements of an image, by their distances to the two nearest lines and columns: as PyTorch's `Upsample`
/// with the mode `bilinear` and without `align_corners`. Element i of an axis lies at (i + ½)/scale − ½ of the image; beyond
/// its ends the last counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BilinearUpsample {
    /// How many elements each becomes along either axis, at least 1.
    pub scale: [usize; 2],
}

impl Model for BilinearUpsample {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let [down, right] = self.scale;
        let Some([samples, channels, lines, columns]) = upsampled(tape, x, self.scale) else { return x.clone() };
        let tall = between(tape, x, [samples * channels, lines, columns], down);
        let wide = between(tape, &tall, [samples * channels * lines * down, columns, 1], right);
        wide.reshape(&[samples, channels, lines * down, columns * right])
    }
}

/// So many elements for each along the middle axis.
fn between(tape: &mut Tape, x: &Value, [outer, len, inner]: [usize; 3], scale: usize) -> Value {
    if scale == 1 {
        return x.clone();
    }
    let x = x.reshape(&[outer, len, inner]);
    // Neighbours before and behind; the first and the last are their own.
    let [before, behind] = [[0..1, 0..len - 1], [1..len, len - 1..len]].map(|parts| {
        let parts: Vec<Value> = parts.into_iter().filter(|part| !part.is_empty()).map(|part| x.slice(1, part)).collect();
        tape.concatenate(&parts.iter().collect::<Vec<_>>(), 1)
    });
    let shape = [outer, len, scale, inner];
    let place = tape.places(&shape, 2);
    let [x, before, behind] = [&x, &before, &behind].map(|of| of.reshape(&[outer, len, 1, inner]));
    let all = tape.map_of(&shape, &[&x, &before, &behind, &place], |of| {
        let ahead = (of[3].clone() + 0.5) / scale as f64 - 0.5;
        let toward = |other: &Expr, distance: Expr| of[0].clone() * (1.0 - distance.clone()) + other.clone() * distance;
        ahead.clone().less(0.0).select(toward(&of[1], -ahead.clone()), toward(&of[2], ahead))
    });
    all.reshape(&[outer, len * scale, inner])
}
