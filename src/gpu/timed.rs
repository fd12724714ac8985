//! Runs that are timed on the device.

use super::program::GpuProgram;
use super::readback::Copy;
use crate::error::Result;
use crate::plan::{PlanId, Program, check_plans};

impl GpuProgram {
    /// Runs a plan `times` times in one submission, waits, and returns the seconds between two timestamps on the device, or
    /// nothing where the device has no timestamps.
    ///
    /// # Errors
    /// A plan that does not exist, or a lost device.
    pub fn run_timed(&mut self, plan: PlanId, times: usize) -> Result<Option<f64>> {
        match self.start_timed(plan, times)? {
            Some(stamps) => stamps.wait(&self.gpu).and_then(|()| self.seconds(&stamps)).map(Some),
            None => self.wait().map(|()| None),
        }
    }

    /// [`GpuProgram::run_timed`] for programs that must not wait.
    ///
    /// # Errors
    /// As there.
    pub async fn run_timed_async(&mut self, plan: PlanId, times: usize) -> Result<Option<f64>> {
        match self.start_timed(plan, times)? {
            Some(stamps) => {
                stamps.arrive(&self.gpu).await?;
                self.seconds(&stamps).map(Some)
            }
            None => self.wait_async().await.map(|()| None),
        }
    }

    /// Runs a plan between two timestamps, which are on their way to the host; none where the device has no timestamps.
    fn start_timed(&mut self, plan: PlanId, times: usize) -> Result<Option<Copy>> {
        check_plans(&[plan], self.plans.len())?;
        self.gpu.alive()?;
        if !self.gpu.device.features().contains(wgpu::Features::TIMESTAMP_QUERY) {
            self.run(plan, times)?;
            return Ok(None);
        }
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count: 2 };
        let queries = self.gpu.device.create_query_set(&descriptor);
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved =
            self.gpu.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: 256, usage, mapped_at_creation: false });
        let mut encoder = self.gpu.device.create_command_encoder(&Default::default());
        let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
            query_set: &queries,
            beginning_of_pass_write_index: Some(0),
            end_of_pass_write_index: Some(1),
        });
        {
            let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            (0..times).for_each(|_| self.plans[plan.0].encode(&mut pass));
        }
        encoder.resolve_query_set(&queries, 0..2, &resolved, 0);
        self.submit(encoder)?;
        Copy::of(&self.gpu, &resolved, 0, 16).map(Some)
    }

    /// The seconds between two timestamps.
    fn seconds(&self, stamps: &Copy) -> Result<f64> {
        let ticks: Vec<u64> = stamps.take(&self.gpu, bytemuck::pod_collect_to_vec)?;
        Ok((ticks[1] - ticks[0]) as f64 * f64::from(self.gpu.queue.get_timestamp_period()) * 1e-9)
    }
}
