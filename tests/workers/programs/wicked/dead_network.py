"""Never learns: the loss is finite and stays."""

for step in range(1, 21):
    print(f"step {step} loss 5.545200")
