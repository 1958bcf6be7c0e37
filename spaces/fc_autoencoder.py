"""Autoencoder on spoken digits, some of them anomalies: MLPerf Tiny's anomaly detection, with a stand-in for machines.

With recordings of ToyADMOS or MIMII give `data=datasets.machine_sounds`.
"""

from mpsearch import Space, Task, Training, bits, datasets, models

task = Task(
    model=models.fc_autoencoder,
    data=datasets.fsdd_anomalies,
    loss="mean_squared_error",
    metric="bounded_mean_squared_error",
    further_metrics=("auc_by_file", "pauc_by_file"),
    training=Training(epochs=5, batch_size=100, optimizer="adam", learning_rate=1e-3),
    float_training=Training(epochs=100, batch_size=100, optimizer="adam", learning_rate=1e-3),
    finetuning=Training(epochs=100, batch_size=100, optimizer="adam", learning_rate=1e-3, patience=15),
)

space = Space(
    kernel=bits(4, 8, 16, alpha="auto"),
    bias=bits(16, 31, alpha="auto_po2"),
    activation=bits(4, 8, 16, alpha="auto_po2"),
)
