//! Draws curves into a picture beside the documentation.

use std::path::{Path, PathBuf};

use plotters::coord::Shift;
use plotters::prelude::*;

/// What is drawn of one way.
pub(crate) struct Curve {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Charts beside each other.
pub(crate) struct Picture {
    path: PathBuf,
    area: DrawingArea<SVGBackend<'static>, Shift>,
    charts: usize,
}

impl Picture {
    /// Begins a picture in `checkpoint/docs`.
    pub(crate) fn new(name: &str, charts: usize) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../checkpoint/docs").join(name);
        // The backend borrows its path for as long as it lives; a bench draws few.
        let leaked: &'static Path = Box::leak(path.clone().into_boxed_path());
        let size = (u32::try_from(charts).unwrap() * 450, 360);
        let area = SVGBackend::new(leaked, size).into_drawing_area();
        area.fill(&WHITE).unwrap();
        Self { path, area, charts }
    }

    /// Draws one chart, with logarithmic axes.
    pub(crate) fn chart(&self, at: usize, title: &str, x_name: &str, curves: &[&Curve]) {
        let areas = self.area.split_evenly((1, self.charts));
        let points = || curves.iter().flat_map(|curve| &curve.points);
        let least = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(f64::MAX, f64::min);
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
        let x = least(|point| point.0)..most(|point| point.0) * 1.01;
        let y = least(|point| point.1) / 1.5..most(|point| point.1) * 4.0;
        let area = areas.into_iter().nth(at).unwrap();
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 15))
            .margin(10)
            .x_label_area_size(36)
            .y_label_area_size(50)
            .build_cartesian_2d(x.log_scale(), y.log_scale())
            .unwrap();
        chart.configure_mesh().x_desc(x_name).max_light_lines(0).draw().unwrap();
        for (i, curve) in curves.iter().enumerate() {
            let colour = Palette99::pick(i).to_rgba();
            let line = LineSeries::new(curve.points.iter().copied(), colour.stroke_width(2));
            chart
                .draw_series(line)
                .unwrap()
                .label(&curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
            let dots = curve.points.iter().map(|at| Circle::new(*at, 3, colour.filled()));
            chart.draw_series(dots).unwrap();
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()
            .unwrap();
    }

    /// Writes the file, and returns where it is.
    pub(crate) fn finish(self) -> String {
        self.area.present().unwrap();
        self.path.display().to_string()
    }
}
