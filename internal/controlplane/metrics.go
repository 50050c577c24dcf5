package controlplane

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"patchbay.dev/patchbay"
	"patchbay.dev/patchbay/notify"
)

// metrics counts what the engine and the drivers do. No label holds a name
// that a caller chose.
type metrics struct {
	steps      *prometheus.HistogramVec
	operations *prometheus.HistogramVec
	leftovers  *prometheus.CounterVec
	calls      *prometheus.HistogramVec
	active     prometheus.Gauge
	queued     prometheus.Gauge
	looks      *prometheus.HistogramVec
	repairs    *prometheus.CounterVec
	health     *prometheus.GaugeVec
	events     *prometheus.CounterVec
	registry   prometheus.Registerer
}

func newMetrics(r prometheus.Registerer) *metrics {
	make := promauto.With(r)
	buckets := prometheus.ExponentialBuckets(0.001, 4, 9) // 1 ms to 65 s
	return &metrics{
		steps: make.NewHistogramVec(prometheus.HistogramOpts{
			Name: "patchbay_step_duration_seconds", Help: "One attempt of a step.", Buckets: buckets,
		}, []string{"operation", "step", "direction", "outcome"}),
		operations: make.NewHistogramVec(prometheus.HistogramOpts{
			Name: "patchbay_operation_duration_seconds", Help: "From submission to end, time in line included.", Buckets: buckets,
		}, []string{"operation", "state"}),
		leftovers: make.NewCounterVec(prometheus.CounterOpts{
			Name: "patchbay_leftovers_parked_total", Help: "What could not be removed and is retried in the background.",
		}, []string{"operation", "step"}),
		calls: make.NewHistogramVec(prometheus.HistogramOpts{
			Name: "patchbay_driver_call_duration_seconds", Help: "One call of a driver.", Buckets: buckets,
		}, []string{"driver", "method", "code"}),
		active: make.NewGauge(prometheus.GaugeOpts{Name: "patchbay_operations_active", Help: "Operations that this process drives."}),
		looks: make.NewHistogramVec(prometheus.HistogramOpts{
			Name: "patchbay_validation_duration_seconds", Help: "One look at a connection that nobody asked for.", Buckets: buckets,
		}, []string{"cause", "health"}),
		repairs: make.NewCounterVec(prometheus.CounterOpts{
			Name: "patchbay_drift_repairs_total", Help: "Settings that drifted: put back, or left (stopped) to whoever changes them again.",
		}, []string{"outcome"}),
		health: make.NewGaugeVec(prometheus.GaugeOpts{Name: "patchbay_connections", Help: "Connections by health, counted each five seconds."}, []string{"health"}),
		events: make.NewCounterVec(prometheus.CounterOpts{
			Name: "patchbay_events_total", Help: "Events that were sent or dropped, and attempts to send one that failed.",
		}, []string{"outcome"}),
		registry: r,
		queued:   make.NewGauge(prometheus.GaugeOpts{Name: "patchbay_operations_queued", Help: "Operations that wait for an earlier one of their source."}),
	}
}

// StepEnded implements saga.Observer.
func (m *metrics) StepEnded(kind patchbay.OperationKind, step string, undo bool, outcome string, took time.Duration) {
	direction := "do"
	if undo {
		direction = "undo"
	}
	m.steps.WithLabelValues(string(kind), step, direction, outcome).Observe(took.Seconds())
}

// OperationEnded implements saga.Observer.
func (m *metrics) OperationEnded(kind patchbay.OperationKind, state patchbay.OperationState, took time.Duration) {
	m.operations.WithLabelValues(string(kind), string(state)).Observe(took.Seconds())
}

// LeftoverParked implements saga.Observer.
func (m *metrics) LeftoverParked(kind patchbay.OperationKind, step string) {
	m.leftovers.WithLabelValues(string(kind), step).Inc()
}

// Load implements saga.Observer.
func (m *metrics) Load(active, queued int) {
	m.active.Set(float64(active))
	m.queued.Set(float64(queued))
}

// Looked implements connector.WatchObserver.
func (m *metrics) Looked(cause patchbay.Cause, health patchbay.Health, took time.Duration) {
	m.looks.WithLabelValues(string(cause), string(health)).Observe(took.Seconds())
}

// Repaired implements connector.WatchObserver.
func (m *metrics) Repaired(stopped bool) {
	outcome := "put back"
	if stopped {
		outcome = "stopped"
	}
	m.repairs.WithLabelValues(outcome).Inc()
}

// Health implements connector.WatchObserver.
func (m *metrics) Health(counts map[patchbay.Health]int) {
	for _, health := range []patchbay.Health{patchbay.Healthy, patchbay.Unhealthy, patchbay.Unsure} {
		m.health.WithLabelValues(string(health)).Set(float64(counts[health]))
	}
}

func (m *metrics) driverCalled(driver, method string, took time.Duration, code patchbay.Code) {
	if code == "" {
		code = "ok"
	}
	m.calls.WithLabelValues(driver, method, string(code)).Observe(took.Seconds())
}

func (m *metrics) eventEnded(o notify.Outcome) { m.events.WithLabelValues(string(o)).Inc() }

// eventsWait has what waits asked for at each scrape: only where somebody is told.
func (m *metrics) eventsWait(waiting func() (int, time.Duration)) {
	make := promauto.With(m.registry)
	make.NewGaugeFunc(prometheus.GaugeOpts{Name: "patchbay_events_waiting", Help: "Events that their receiver has not got yet."}, func() float64 {
		n, _ := waiting()
		return float64(n)
	})
	make.NewGaugeFunc(prometheus.GaugeOpts{Name: "patchbay_events_oldest_seconds", Help: "How long ago the oldest of them happened; 0 when none waits."}, func() float64 {
		_, age := waiting()
		return age.Seconds()
	})
}
