"""A notebook: the learning rate from finished runs, first without a service, then with one.

Run it from the checkout, cell by cell in an editor that knows ``# %%``, or whole: ``python examples/finished_runs.py``.
The last cells ask a service: start ``etalon serve`` first.
"""

# %% The law of a run table
import etalon

table = "examples/finished_runs.csv"  # or a data frame: pandas, Polars, PyArrow
law = etalon.fit(table)
print(law.formula)

# %% What the runs left open
for warning in law.warnings:
    print("!", warning)

# %% The learning rate at a target
answer = law.predict(params="1B", tokens="20B", batch_tokens="262k")
print(f"{answer.learning_rate:.2e}, 95 % within {answer.interval.low:.2e} … {answer.interval.high:.2e}")

# %% A target that the runs cannot support is refused, with the reason
try:
    law.predict(params="1T", tokens="15T")
except etalon.Refused as refused:
    print(refused)

# %% The same law kept by a service, which could go on and train more runs
client = etalon.Client()  # ETALON_URL, ETALON_TOKEN
sweep = client.sweeps.submit(
    {
        "name": "finished runs",
        "prior_runs": {"table": table},
        "target": {"params": 1e9, "tokens": 2e10, "batch_tokens": 262_144},
    }
)

# %% Its events, until it ends
for event in sweep.watch():
    print(event.at.time(), event.kind, event.payload)

# %% Its prediction, its newest law, and a figure that a notebook draws
print(sweep.predict(params="1B", tokens="20B", batch_tokens="262k").learning_rate)
print(sweep.law.coefficients if sweep.law else sweep.document.reason)
sweep.figure("bowls")
