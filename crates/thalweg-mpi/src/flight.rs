//! Messages under way. MPI has their values as long as it may read or write them, so nobody else can touch them meanwhile.

use crate::error::{Error, Result};
use crate::world::{Datum, World, check};
use mpi::ffi;
use std::collections::VecDeque;
use std::ffi::c_int;

/// What messages are about. Those of one kind between two ranks are received in the order in which they were sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tag {
    /// They have no tag: MPI takes them in the order of their calls.
    AllReduces,
    Blocks,
    Sums,
    /// Numbers of micro-batches.
    Counts,
    /// What micro-batches leave.
    Marks,
}

/// Messages that were started and may not be done.
///
/// Whoever sends values gives them away, and gets them back, with the key of the message, once all is done. So values that an
/// engine has not brought to the host yet cannot be sent, and values that are being sent or received cannot be read or written.
#[derive(Debug)]
pub(crate) struct Flight<'w, F, K> {
    world: &'w World,
    tag: Tag,
    /// What MPI has not done yet, and the place of its message.
    requests: Vec<ffi::MPI_Request>,
    of: Vec<usize>,
    messages: Vec<Option<Message<F, K>>>,
    free: Vec<usize>,
    /// Scratch: places in `requests`.
    done: Vec<c_int>,
    arrived: VecDeque<Message<F, K>>,
}

/// A message and its values.
#[derive(Debug)]
pub(crate) struct Message<F, K> {
    pub key: K,
    /// What was sent or received.
    pub values: Vec<F>,
    /// What MPI has read to write `values`.
    pub read: Vec<F>,
    /// Requests that are not done.
    open: usize,
}

impl<'w, F: Datum, K> Flight<'w, F, K> {
    pub fn new(world: &'w World, tag: Tag) -> Self {
        let (requests, messages, done, arrived) = (Vec::new(), Vec::new(), Vec::new(), VecDeque::new());
        Self { world, tag, requests, of: Vec::new(), messages, free: Vec::new(), done, arrived }
    }

    /// Sends values to some ranks. Without any, they have arrived at once.
    #[expect(unsafe_code, reason = "a call of C")]
    pub fn send(&mut self, key: K, values: Vec<F>, to: impl Iterator<Item = usize>) -> Result<()> {
        let (pointer, len) = (values.as_ptr().cast(), count(values.len())?);
        let at = self.put(key, values, Vec::new());
        let (comm, tag) = (self.world.comm, self.tag as c_int);
        for rank in to {
            self.start("MPI_Isend", at, |request| {
                // SAFETY: the values are this message's until the request is done, or for ever (see `drop`); they do not move
                // when their vector does, and nobody writes to them.
                unsafe { ffi::MPI_Isend(pointer, len, F::datatype(), rank as c_int, tag, comm, request) }
            })?;
        }
        self.close(at);
        Ok(())
    }

    /// Receives as many values as there are, and writes over them.
    #[expect(unsafe_code, reason = "a call of C")]
    pub fn receive(&mut self, key: K, mut values: Vec<F>, from: usize) -> Result<()> {
        let (pointer, len) = (values.as_mut_ptr().cast(), count(values.len())?);
        let at = self.put(key, values, Vec::new());
        let (comm, tag) = (self.world.comm, self.tag as c_int);
        self.start("MPI_Irecv", at, |request| {
            // SAFETY: as in `send`; nobody reads them either.
            unsafe { ffi::MPI_Irecv(pointer, len, F::datatype(), from as c_int, tag, comm, request) }
        })
    }

    /// Adds up the values of all ranks, in an order that MPI chooses, and writes over `sums`, which is as long. All ranks call
    /// this in the same order.
    #[expect(unsafe_code, reason = "a call of C")]
    pub fn add(&mut self, key: K, values: Vec<F>, mut sums: Vec<F>) -> Result<()> {
        self.world.room("a sum", sums.len(), &[values.len()])?;
        let (own, pointer, len) = (values.as_ptr().cast(), sums.as_mut_ptr().cast(), count(values.len())?);
        let at = self.put(key, sums, values);
        let comm = self.world.comm;
        self.start("MPI_Iallreduce", at, |request| {
            // SAFETY: as in `send` and `receive`; both have `len` values.
            unsafe { ffi::MPI_Iallreduce(own, pointer, len, F::datatype(), ffi::RSMPI_SUM, comm, request) }
        })
    }

    /// Lets MPI get on; says whether it has done anything that was open.
    #[expect(unsafe_code, reason = "a call of C")]
    pub fn poll(&mut self) -> Result<bool> {
        if self.requests.is_empty() {
            return Ok(false);
        }
        let (all, mut done) = (count(self.requests.len())?, 0);
        self.done.resize(self.requests.len(), 0);
        let (requests, places) = (self.requests.as_mut_ptr(), self.done.as_mut_ptr());
        // SAFETY: there are `all` requests, of calls of this type, and room for as many places.
        let code = unsafe { ffi::MPI_Testsome(all, requests, &mut done, places, ffi::RSMPI_STATUSES_IGNORE) };
        self.check("MPI_Testsome", code)?;
        let mut places: Vec<usize> = self.done.iter().take(done.max(0) as usize).map(|&place| place as usize).collect();
        // From behind, so that places before stay what they are.
        places.sort_unstable_by(|a, b| b.cmp(a));
        for &place in &places {
            self.requests.swap_remove(place);
            let at = self.of.swap_remove(place);
            if let Some(message) = &mut self.messages[at] {
                message.open -= 1;
            }
            self.close(at);
        }
        Ok(!places.is_empty())
    }

    /// The next message that is done.
    pub fn arrived(&mut self) -> Option<Message<F, K>> {
        self.arrived.pop_front()
    }

    /// Whether all that was started is done and was given out.
    pub fn is_over(&self) -> bool {
        self.requests.is_empty() && self.arrived.is_empty()
    }

    /// A place for a message.
    fn put(&mut self, key: K, values: Vec<F>, read: Vec<F>) -> usize {
        let message = Some(Message { key, values, read, open: 0 });
        match self.free.pop() {
            Some(at) => {
                self.messages[at] = message;
                at
            }
            None => {
                self.messages.push(message);
                self.messages.len() - 1
            }
        }
    }

    /// Starts a call for a message.
    #[expect(unsafe_code, reason = "a constant of C")]
    fn start(&mut self, call: &'static str, at: usize, start: impl FnOnce(*mut ffi::MPI_Request) -> c_int) -> Result<()> {
        self.world.still("a message")?;
        // SAFETY: a constant of MPI's library.
        let mut request = unsafe { ffi::RSMPI_REQUEST_NULL };
        self.check(call, start(&mut request))?;
        self.requests.push(request);
        self.of.push(at);
        if let Some(message) = &mut self.messages[at] {
            message.open += 1;
        }
        Ok(())
    }

    /// Nothing more is sent once a call has failed.
    fn check(&self, call: &'static str, code: c_int) -> Result<()> {
        check(call, code).inspect_err(|_| self.world.lost.set(true))
    }

    /// Gives a message out if nothing of it is open.
    fn close(&mut self, at: usize) {
        if let Some(message) = self.messages[at].take_if(|message| message.open == 0) {
            self.arrived.push_back(message);
            self.free.push(at);
        }
    }
}

impl<F, K> Drop for Flight<'_, F, K> {
    fn drop(&mut self) {
        if !self.requests.is_empty() {
            // MPI may still read or write the values, and would wait for other ranks at its end.
            self.world.lost.set(true);
            std::mem::forget(std::mem::take(&mut self.messages));
        }
    }
}

/// A number of values as MPI takes it.
fn count(values: usize) -> Result<c_int> {
    values.try_into().map_err(|_| Error::TooLarge { what: "a message", elements: values })
}
