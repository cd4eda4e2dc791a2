"""Questions as somebody else would ship them: made, not kept in a file."""


def calls():
    records = [{"question": f"A-B:{n} ; weight of A-B", "answer": str(n)} for n in range(1, 9)]
    return {"dev": records[:4], "test": records[4:]}
