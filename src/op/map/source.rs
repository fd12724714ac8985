//! What the inputs of an expression are: views, places and random numbers, each with strides along a shape.

use crate::error::Result;
use crate::plan::{Dispatch, Elements, Kind, Operands, Use, View};
use crate::random::uniform;
use crate::rule::Real;
use smallvec::SmallVec;

/// Where an input of an expression comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Floats.
    Floats(View),
    /// Indices, as floats; above 2²⁴ they are rounded in single precision.
    Indices(View),
    /// The place itself: the sum of coordinates times strides.
    Place,
    /// A number from 0 to below 1, by a lane's key (two indices, see [`StepKey`](crate::op::StepKey)), a site, and the place.
    Uniform {
        /// Two indices.
        key: View,
        /// Which of several independent sequences.
        site: u32,
    },
}

impl Source {
    /// The view that it reads.
    fn view(self) -> Option<(View, Kind)> {
        match self {
            Self::Floats(view) => Some((view, Kind::Float)),
            Self::Indices(view) | Self::Uniform { key: view, .. } => Some((view, Kind::Index)),
            Self::Place => None,
        }
    }
}

/// A source, and how far apart its elements are along each dimension of a shape. A stride of 0 repeats the same elements: a
/// broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::op) struct Input {
    pub source: Source,
    pub strides: [usize; 4],
    /// The element of the first place.
    pub offset: usize,
    /// Which of the views it reads; 0 for one that reads none.
    view: usize,
    /// Whether it lies as the shape does.
    flat: bool,
    /// Elements of the shape after which it is repeated, at least 1.
    period: usize,
}

impl Input {
    /// With what follows from a shape.
    fn along(self, shape: [usize; 4]) -> Self {
        Self { flat: is_flat(shape, self.strides), period: period(shape, self.strides).max(1), ..self }
    }
}

/// The inputs of an expression over a shape of four dimensions, of which the last varies fastest.
#[derive(Debug, Clone)]
pub(in crate::op) struct Inputs {
    pub shape: [usize; 4],
    /// Dimensions that were given, of the shape or as strides: more than four are an error of the plan.
    dimensions: usize,
    pub list: Vec<Input>,
    /// The views that are read, each once.
    views: SmallVec<[(View, Kind); 8]>,
}

/// Names of views in the kernel.
const NAMES: [&str; 8] = ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"];

/// Sizes of four dimensions, from those of the last ones.
fn padded(sizes: &[usize], first: usize) -> [usize; 4] {
    let (mut padded, last) = ([first; 4], &sizes[sizes.len().saturating_sub(4)..]);
    padded[4 - last.len()..].copy_from_slice(last);
    padded
}

impl Inputs {
    pub(in crate::op) fn new(shape: &[usize]) -> Self {
        Self { shape: padded(shape, 1), dimensions: shape.len(), list: Vec::new(), views: SmallVec::new() }
    }

    pub(in crate::op) fn push(&mut self, source: Source, offset: usize, strides: &[usize]) {
        let view = source.view().map_or(0, |view| {
            let known = self.views.iter().position(|known| *known == view);
            known.unwrap_or_else(|| {
                self.views.push(view);
                self.views.len() - 1
            })
        });
        self.dimensions = self.dimensions.max(strides.len());
        let strides = padded(strides, 0);
        self.list.push(Input { source, strides, offset, view, flat: false, period: 1 }.along(self.shape));
    }

    /// Elements of the shape.
    pub(in crate::op) fn len(&self) -> usize {
        Operands::product(&self.shape)
    }

    /// Elements that the CPU computes together, at most `most`: whole lines of the last dimension or, if it is longer, whole
    /// rows of the longest input that is repeated, as far as they are short. Then it is fetched once for all blocks.
    pub(in crate::op) fn block(&self, most: usize) -> usize {
        let periods = self.list.iter().map(|input| input.period).chain([self.shape[3].max(1)]);
        let longest = periods.filter(|&period| period < most).max().unwrap_or(1);
        most / longest * longest
    }

    /// Elements from an input's first to its last one.
    fn extent(&self, input: &Input) -> usize {
        if matches!(input.source, Source::Uniform { .. }) {
            return 2;
        }
        if self.len() == 0 {
            return 0;
        }
        let last = self.shape.iter().zip(input.strides).map(|(&size, stride)| (size - 1).saturating_mul(stride));
        last.fold(input.offset.saturating_add(1), usize::saturating_add)
    }

    /// Declares the views, as long as the farthest element that is read of them.
    pub(in crate::op) fn operands(&self, o: &mut Operands) {
        o.at_most("dimensions", self.dimensions, 4);
        // Names beyond the eighth never get into a kernel: more than eight views are an error.
        for (name, (view, kind)) in NAMES.into_iter().chain(std::iter::repeat("x")).zip(self.views.iter().copied()) {
            let reads = self.list.iter().filter(|input| input.source.view() == Some((view, kind)));
            let extent = reads.map(|input| self.extent(input)).max().unwrap_or(0);
            o.declare(name, view, kind, Use::Read, view.len.max(extent));
        }
    }

    /// Adds sizes of the shape, strides and sites to the uniform.
    pub(in crate::op) fn sizes(&self, mut dispatch: Dispatch) -> Dispatch {
        for (dimension, size) in self.shape.into_iter().enumerate() {
            dispatch = dispatch.size(format!("d{dimension}"), size);
        }
        for (index, input) in self.list.iter().enumerate() {
            for (dimension, stride) in input.strides.into_iter().enumerate() {
                dispatch = dispatch.size(format!("a{index}_s{dimension}"), stride);
            }
            dispatch = dispatch.size(format!("a{index}_first"), input.offset);
            if let Source::Uniform { site, .. } = input.source {
                dispatch = dispatch.size(format!("a{index}_site"), site as usize);
            }
        }
        dispatch
    }

    /// Lines of a kernel that read all inputs into a0, a1, … for the coordinates c0 … c3.
    pub(in crate::op) fn loads(&self) -> String {
        let mut text = String::new();
        for (index, input) in self.list.iter().enumerate() {
            let view = NAMES.get(input.view).copied().unwrap_or_default();
            let place = [0, 1, 2, 3].map(|d| format!(" + c{d} * op.a{index}_s{d}")).concat();
            let place = format!("op.a{index}_first{place}");
            let value = match input.source {
                Source::Floats(_) => format!("{view}(lane, {place})"),
                Source::Indices(_) => format!("f32({view}(lane, {place}))"),
                Source::Place => format!("f32({place})"),
                Source::Uniform { .. } => {
                    format!("uniform_number(vec2u({view}(lane, 0u), {view}(lane, 1u)), op.a{index}_site, {place})")
                }
            };
            text += &format!("    let a{index} = {value};\n");
        }
        text
    }

    /// Functions that the lines call.
    pub(in crate::op) fn functions(&self) -> &'static str {
        let random = self.list.iter().any(|input| matches!(input.source, Source::Uniform { .. }));
        if random { include_str!("../../../shaders/op/random.wgsl") } else { "" }
    }

    /// The inputs with their data, taken from the first of an operation's views.
    pub(in crate::op) fn given<'a, 'v: 'a, F: Real>(
        &'a self,
        elements: &mut impl Iterator<Item = Elements<'v, F>>,
    ) -> Result<Given<'a, F>> {
        let mut data = [Data::Place; NAMES.len()];
        for (data, ((_, kind), elements)) in data.iter_mut().zip(self.views.iter().zip(elements)) {
            *data = match kind {
                Kind::Index => Data::Indices(elements.indices()?),
                _ => Data::Floats(elements.floats()?),
            };
        }
        Ok(Given { data, inputs: &self.list, shape: &self.shape })
    }

    /// The same inputs over a shape with these dimensions of this one, in this order.
    pub(in crate::op) fn permuted(&self, order: [usize; 4]) -> Turned {
        let turned = |of: [usize; 4]| order.map(|dimension| of[dimension]);
        let shape = turned(self.shape);
        let list = self.list.iter().map(|input| Input { strides: turned(input.strides), ..*input }.along(shape)).collect();
        Turned { shape, list }
    }
}

/// Inputs over a shape in another order.
#[derive(Debug, Clone, Default)]
pub(in crate::op) struct Turned {
    shape: [usize; 4],
    list: Vec<Input>,
}

/// Inputs with the data of the views that they read.
#[derive(Clone, Copy)]
pub(in crate::op) struct Given<'a, F> {
    data: [Data<'a, F>; NAMES.len()],
    inputs: &'a [Input],
    shape: &'a [usize; 4],
}

impl<'a, F: Real> Given<'a, F> {
    /// The same data over a shape in another order.
    pub(in crate::op) fn turned(self, to: &'a Turned) -> Self {
        Self { data: self.data, inputs: &to.list, shape: &to.shape }
    }

    pub(super) fn len(&self) -> usize {
        self.inputs.len()
    }

    pub(super) fn each(&self) -> impl Iterator<Item = Fetched<'a, F>> {
        let Self { inputs, shape, data } = self;
        inputs.iter().map(move |input| {
            let data = match (input.source, data[input.view]) {
                (Source::Uniform { site, .. }, Data::Indices(words)) => Data::Uniform([words[0], words[1]], site),
                (Source::Place, _) => Data::Place,
                (_, data) => data,
            };
            Fetched { data, input, shape }
        })
    }
}

/// Elements below which a line is narrow.
const NARROW: usize = 16;

/// What an input reads.
#[derive(Debug, Clone, Copy)]
enum Data<'a, F> {
    Floats(&'a [F]),
    Indices(&'a [u32]),
    Place,
    Uniform([u32; 2], u32),
}

/// Whether elements lie as the shape does.
fn is_flat(shape: [usize; 4], strides: [usize; 4]) -> bool {
    let mut stride = 1;
    shape.iter().zip(strides).rev().all(|(&size, own)| {
        let fits = size == 1 || own == stride;
        stride = stride.saturating_mul(size);
        fits
    })
}

/// Elements of the shape after which an input is repeated.
fn period(shape: [usize; 4], strides: [usize; 4]) -> usize {
    let varies = (0..4).find(|&d| shape[d] > 1 && strides[d] > 0);
    varies.map_or(1, |d| Operands::product(&shape[d..]))
}

/// An input's elements, and where the element of each place of the shape is among them.
pub(in crate::op) struct Fetched<'a, F> {
    data: Data<'a, F>,
    input: &'a Input,
    shape: &'a [usize; 4],
}

impl<'a, F: Real> Fetched<'a, F> {
    /// Elements of the shape after which it is repeated, at least 1.
    #[inline(always)]
    pub(super) fn period(&self) -> usize {
        self.input.period
    }

    /// The floats from `start` on, if they lie one after the other.
    #[inline(always)]
    pub(super) fn direct(&self, start: usize, size: usize) -> Option<&'a [F]> {
        let Data::Floats(floats) = self.data else { return None };
        let Input { strides, offset, flat, .. } = self.input;
        if *flat {
            return Some(&floats[offset + start..][..size]);
        }
        let width = self.shape[3];
        let in_a_row = strides[3] == 1 && size <= width && start % width + size <= width;
        in_a_row.then(|| &floats[self.place(self.coordinates(start))..][..size])
    }

    fn coordinates(&self, element: usize) -> [usize; 4] {
        let [_, b, c, d] = *self.shape;
        let rows = element / d;
        [rows / c / b, rows / c % b, rows % c, element % d]
    }

    fn place(&self, coordinates: [usize; 4]) -> usize {
        coordinates.iter().zip(self.input.strides).fold(self.input.offset, |place, (&at, stride)| place + at * stride)
    }

    /// Copies the elements from `start` on, row by row of the last dimension.
    pub(super) fn fetch(&self, start: usize, block: &mut [F]) {
        // A loop for each kind, so that none is chosen per element.
        match self.data {
            Data::Floats(floats) => self.fetch_by(start, block, |place| floats[place]),
            Data::Indices(indices) => self.fetch_by(start, block, |place| F::of(f64::from(indices[place]))),
            Data::Place | Data::Uniform(..) => self.fetch_by(start, block, |place| self.at(place)),
        }
    }

    #[inline(always)]
    fn fetch_by(&self, start: usize, block: &mut [F], value: impl Fn(usize) -> F) {
        let (mut at, mut rest, [_, planes, rows, width]) = (self.coordinates(start), block, *self.shape);
        let [_, _, down, across] = self.input.strides;
        while !rest.is_empty() {
            let mut row = self.place([at[0], at[1], at[2], 0]);
            if across == 0 && at[3] == 0 && width < NARROW {
                // Each line is written with a fixed number of elements, which needs no loop; the next one overwrites what is
                // too many.
                let lines = (rows - at[2]).min((rest.len() + width).saturating_sub(NARROW) / width);
                (0..lines).for_each(|line| rest[line * width..][..NARROW].fill(value(row + line * down)));
                (rest, at[2], row) = (&mut rest[lines * width..], at[2] + lines, row + lines * down);
            }
            for _ in at[2]..rows {
                if rest.is_empty() {
                    return;
                }
                let len = (width - at[3]).min(rest.len());
                let (line, later) = rest.split_at_mut(len);
                self.line(row + at[3] * across, across, line);
                (rest, at[3], row) = (later, 0, row + down);
            }
            at = if at[1] + 1 < planes { [at[0], at[1] + 1, 0, 0] } else { [at[0] + 1, 0, 0, 0] };
        }
    }

    #[inline(always)]
    fn line(&self, first: usize, stride: usize, line: &mut [F]) {
        let places = (0..line.len()).map(|i| first + i * stride);
        match self.data {
            _ if stride == 0 => line.fill(self.at(first)),
            Data::Floats(floats) if stride == 1 => line.copy_from_slice(&floats[first..first + line.len()]),
            Data::Floats(floats) => {
                line.iter_mut().zip(floats[first..].iter().step_by(stride)).for_each(|(to, &from)| *to = from)
            }
            Data::Uniform(key, site) => {
                pulp::Arch::new().dispatch(Uniforms { key, site, first: first as u32, stride: stride as u32, line });
            }
            _ => line.iter_mut().zip(places).for_each(|(to, place)| *to = self.at(place)),
        }
    }

    #[inline(always)]
    fn at(&self, place: usize) -> F {
        match self.data {
            Data::Floats(floats) => floats[place],
            Data::Indices(indices) => F::of(f64::from(indices[place])),
            Data::Place => F::of(place as f64),
            Data::Uniform(key, site) => F::of(f64::from(uniform(key, site, place as u32))),
        }
    }
}

/// Random numbers of places that lie so far apart, into a line. A struct, as pulp takes it: of a closure the compiler may make
/// a function without vector instructions.
struct Uniforms<'a, F> {
    key: [u32; 2],
    site: u32,
    first: u32,
    stride: u32,
    line: &'a mut [F],
}

impl<F: Real> pulp::WithSimd for Uniforms<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { key, site, first, stride, line } = self;
        for (i, to) in line.iter_mut().enumerate() {
            let place = first.wrapping_add((i as u32).wrapping_mul(stride));
            *to = F::of(f64::from(uniform(key, site, place)));
        }
    }
}
