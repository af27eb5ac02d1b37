//! What a metric is called, here and by those who scrape it.

/// Something that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name for OpenTelemetry.
    pub name: &'static str,
    /// What its figures mean.
    pub kind: Kind,
    /// Its unit by UCUM; what is counted stands in braces.
    pub unit: &'static str,
    /// The attributes of its points.
    pub attributes: &'static [&'static str],
    /// What it tells, as a sentence without its end.
    pub description: &'static str,
}

/// What the figures of a metric mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How much there was since the process, or the cluster, began: it only grows.
    Counter,
    /// How much there is.
    Gauge,
    /// How often something was how much.
    Histogram,
}

impl Kind {
    /// As Prometheus says it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

impl Metric {
    /// Its name for Prometheus, by the rules of OpenTelemetry for that: with the unit at its end, and `_total` for a counter.
    pub fn scraped_name(&self) -> String {
        let name = label(self.name);
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = if self.kind == Kind::Counter { "_total" } else { "" };
        format!("{name}{unit}{total}")
    }

    /// Its attributes, as the labels that Prometheus knows.
    pub fn labels(&self) -> impl Iterator<Item = String> + use<> {
        self.attributes.iter().map(|attribute| label(attribute))
    }
}

fn label(name: &str) -> String {
    name.replace('.', "_")
}

/// The catalogue as the README shows it: a row of a Markdown table for each metric, by its name for Prometheus.
pub fn table(metrics: &[Metric]) -> String {
    let mut rows: Vec<String> = metrics
        .iter()
        .map(|metric| {
            let labels: Vec<String> = metric.labels().map(|label| format!("`{label}`")).collect();
            let Metric { kind, description, .. } = metric;
            format!("| `{}` | {} | {} | {description} |\n", metric.scraped_name(), kind.name(), labels.join(", "))
        })
        .collect();
    rows.sort();
    format!("| metric | kind | labels | what it tells |\n| --- | --- | --- | --- |\n{}", rows.concat())
}
